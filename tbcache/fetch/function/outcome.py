"""The outcome of a call of a fetcher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from tbcache.models import Origin

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class FetcherOutcome(Generic[T_co]):
    """The value of a call, and where it comes from.

    ``age`` is in seconds since the value was loaded. Both it and ``origin`` are None where there is no value.
    Then ``error`` says why: it is the exception of the function where that ran for this call, else an
    :class:`tbcache.UpstreamError` with what is known of the failure, or a :class:`tbcache.RateLimited`. With
    an old value, ``error`` is an :class:`tbcache.UpstreamError` if the last refresh failed, and a
    :class:`tbcache.RateLimited` if there was no slot for one in time.
    """

    value: T_co | None
    origin: Origin | None
    age: float | None
    error: Exception | None = None
