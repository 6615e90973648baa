"""What was asked of a source, and what it cost."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tbcache.api.model.schema import Schema
from tbcache.fleet import Failing


class SourceUsage(Schema):
    requests_today: int
    hits_today: int
    stale_today: int
    misses_today: int
    prewarms_today: int = Field(description="Fetches for which nobody has asked, beside the requests.")
    joins_today: int
    waits_today: int
    pages_today: int
    errors_today: int
    errors_by_kind: dict[str, int]
    cache_hit_rate: float
    cost_today: float
    uncertain_cost_today: float = Field(description="Of answers that were lost or not read: at most so much.")
    latency_p50: float | None
    latency_p95: float | None
    latency_mean: float | None


class RecentUsage(Schema):
    """A source in the last minutes: ``seconds`` is how many seconds that is, 5 to 6 minutes as a rule."""

    seconds: float
    requests: int
    hits: int
    stale: int
    misses: int
    errors: int
    errors_by_kind: dict[str, int]
    cache_hit_rate: float
    cost: float
    pages: int = Field(description="The requests that fetches took.")
    naive_cost: float = Field(description="What they would have cost, had each fetched all its hours again.")
    naive_pages: int = Field(description="The requests of that, of a source that costs money.")
    latency_p50: float | None
    latency_p95: float | None
    latency_mean: float | None
    settled: int = Field(description="The fetches that came to an end, good or bad.")
    failed: int = Field(description="The errors that the source is to blame for.")
    failed_since: datetime | None = Field(description="About when the first of these was.")
    recovered: int = Field(description="The fetches that ended since a minute with any.")
    last: Failing | None = Field(description="The failures since a fetch last went well; null where it did.")
    plain: int = Field(description="The requests that ask for words, as the plan refuses the cashtag.")
