"""What variables, or code, may say of one source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from tbcache.models import Charge, Limit
from tbcache.models.request import LONGEST_HOURS
from tbcache.models.secret import SecretStr
from tbcache.settings import value
from tbcache.settings.field import readers_of, setting
from tbcache.settings.query_filter import check_query_filter
from tbcache.settings.reader import number, one_of, positive, secret, whole
from tbcache.settings.secret import hide
from tbcache.settings.value import LONGEST_SECONDS

#: More pages for one answer are a typo.
MOST_PAGES = 1000
#: The most symbols of a query: no upstream takes as many.
MOST_PACKED = 100
#: More money than anybody spends a day, and the least that is counted (US dollars).
MOST_DOLLARS, LEAST_DOLLARS = 1e9, 1e-6


@dataclass(frozen=True)
class SourceSettings:
    """What one source's variables say; None where they say nothing."""

    base_url: str | None = setting(value.http_url)
    limits: tuple[Limit, ...] | None = setting(value.limits)
    cache_ttl: float | None = setting(positive(LONGEST_SECONDS))
    stale_ttl: float | None = setting(number(0, LONGEST_SECONDS))
    charge: Charge | None = setting(one_of(*get_args(Charge)))
    daily_budget: float | None = setting(number(LEAST_DOLLARS, MOST_DOLLARS))
    deepening_share: float | None = setting(number(0, 1))
    cost: int | None = setting(whole(1))
    pages: int | None = setting(whole(1, MOST_PAGES))
    pack: int | None = setting(whole(1, MOST_PACKED))
    delay_hours: float | None = setting(number(0, LONGEST_HOURS))

    bearer_token: SecretStr | None = setting(secret())
    client_id: str | None = setting(str)
    client_secret: SecretStr | None = setting(secret())
    user_agent: str = setting(value.user_agent, "python:tbcache:v0.1 (by /u/tbcache)")
    auth_url: str = setting(value.http_url, "https://www.reddit.com")
    subreddits: str = setting(value.subreddits, "wallstreetbets+stocks+investing+options")
    domains: str | None = setting(value.domains)
    query_filter: str | None = setting(check_query_filter)
    counts_budget: float | None = setting(number(LEAST_DOLLARS, MOST_DOLLARS))
    api_key: SecretStr | None = setting(secret())
    access_token: SecretStr | None = setting(secret())

    def __post_init__(self) -> None:
        hide(self)

    @property
    def said(self) -> set[str]:
        """The fields of which something is said."""
        return {field for field in READERS if getattr(self, field) != getattr(NOTHING_SAID, field)}


NOTHING_SAID = SourceSettings()
#: How each field is read.
READERS = readers_of(SourceSettings)
