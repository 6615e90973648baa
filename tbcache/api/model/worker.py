"""A process of the fleet."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tbcache.api.model.schema import Schema


class Refusal(Schema):
    since: datetime
    reason: str
    is_bug: bool = Field(description="The script is wrong, and the keys are as they should be.")


class SourceProfile(Schema):
    """What a process was started with of a source."""

    limits: str
    missing: tuple[str, ...]
    credentials: tuple[str, ...]
    max_hours: int
    delay_hours: float
    is_served: bool = Field(description="It takes the source's jobs.")
    daily_budget: float | None
    query_filter: str | None
    cache_ttl: float | None = Field(description="For how many seconds an answer is fresh; null: not told.")


class Profile(Schema):
    """What a process was started with."""

    sources: dict[str, SourceProfile]
    common_symbols: tuple[str, ...]
    common_hours: int
    declared: dict[str, SourceProfile] = Field(description="The sources that its code has declared.")


class Worker(Schema):
    """A process of the fleet; ``age`` is the seconds since its last heartbeat."""

    name: str
    role: str
    pid: int
    host: str
    threads: int
    busy: int
    doing: tuple[str, ...]
    started_at: datetime
    beat_at: datetime
    age: float
    is_alive: bool
    version: str
    memory_bytes: int = Field(description="What it has in memory; 0 of a version that does not say.")
    fires: dict[str, datetime] = Field(description="When a scheduler does each of its works next.")
    layout: int = Field(description="That of the keys which it reads and writes in Redis.")
    profile: Profile | None = Field(description="What it was started with; null where it does not say.")
    refused: dict[str, Refusal] = Field(description="What Redis refuses it of the keys of a source.")
    pace: dict[str, float] = Field(
        description="For how many seconds a job of a queue has a thread, on average."
    )
