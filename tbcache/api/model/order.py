"""What an operator has said of a source or a queue."""

from __future__ import annotations

from datetime import datetime

from tbcache.api.model.schema import LimitTexts, Schema


class Order(Schema):
    """A source or a queue is paused, or drained."""

    what: str
    since: datetime
    who: str
    why: str


class Bound(Schema):
    """Limits that an operator has set."""

    limits: LimitTexts
    since: datetime
    who: str
    why: str
