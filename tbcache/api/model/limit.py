"""The limits of a source."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tbcache.api.model.schema import Schema


class LimitStatus(Schema):
    """One limit: at most ``allowed`` requests in any window of ``window_seconds``."""

    limit: str = Field(examples=["300/15m"])
    allowed: int = Field(validation_alias="count")
    used: int | None
    left_to_others: int | None = Field(
        description="The part of `used` that is left to others with the same key, by the upstream's headers "
        "or after a refusal."
    )
    remaining: int | None
    reset_at: datetime | None = Field(description="When the next slot in use comes free; null where none is.")
    is_limited: bool | None
    window_seconds: float
    reason: str | None
