"""Everything tbcache raises.

TbcacheError
├── ConfigurationError          a setting is wrong; names the variable, the value, what would be right
│   ├── UnknownSource           no such source; names the nearest one
│   └── MissingExtra            an extra of tbcache is not installed; names it
├── InvalidRequest              a symbol, an hours, a limit or a TTL that cannot be asked for
│   └── UnknownJob              a job that is over, or was never queued
├── RedisUnreachable            Redis is needed here and is not reachable
├── RateLimited                 no slot before the caller's patience ends (retry_at)
│   ├── AnswerPending           another process is still fetching it (retry_at)
│   ├── BudgetExhausted         the source's money for today is spent (retry_at)
│   └── Paused                  an operator has paused the source or the queue, or drains it
├── ResultTimeout               a queued fetch was not done in time
├── RepositoryUnavailable       the database is needed here and does not answer
└── UpstreamError               the upstream answered with something that is no page of items
    ├── UpstreamThrottled       slow down (retry_at, where the upstream said)
    ├── UpstreamQuotaExhausted  a day's or a month's allowance is used up (until)
    ├── UpstreamAuthError       credentials are missing or wrong
    ├── UpstreamNotEntitled     the plan does not include this
    ├── UpstreamNotFound        no such symbol or page
    ├── UpstreamBadRequest      the upstream did not understand the request
    ├── UpstreamUnavailable     the upstream is down, or did not answer
    └── UpstreamPayloadError    a 200 that is empty, cut off or not what it should be

What is likely to be a mistake, and goes on all the same, is a TbcacheWarning.
"""

from __future__ import annotations

import contextlib
import copyreg
import difflib
import re
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest of ``known``, or ``""``."""
    close = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.65)
    return f"; did you mean {close[0]!r}?" if close else ""


class TbcacheWarning(UserWarning):
    """Something that is likely to be a mistake, and goes on all the same."""


class TbcacheError(Exception):
    """Root of every error tbcache raises.

    A copy, or one from another process, says the same and knows as much.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # What an OSError is made of is more than its args.
        args, state = super().__reduce__()[1], object.__getstate__(self)
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        state = {**(attributes or {}), **(slots or {}), "args": self.args}
        if isinstance(self, ImportError):
            state["msg"] = self.msg
        return copyreg.__newobj__, (type(self), *args), state  # type: ignore[attr-defined]


class ConfigurationError(TbcacheError):
    """A setting is missing or wrong."""


class RepositoryUnavailable(TbcacheError):
    """The database is down, locked or not reachable now; the same call may do later."""


class UnknownSource(ConfigurationError):
    """No source of that name is configured."""

    def __init__(self, source: str, known: Iterable[str] = ()) -> None:
        self.source = source
        self.known = tuple(sorted(known))
        listed = ", ".join(self.known) or "none"
        super().__init__(f"unknown source {source!r}{self._hint()} (known: {listed})")

    def _hint(self) -> str:
        module, dot, kind = self.source.rpartition(".")
        if ":" not in self.source:
            of_ones_own = f"; a class of your own is written {module}:{kind}" if dot else ""
            return nearest(self.source, self.known) or of_ones_own
        return f": give the class a name, with TBCACHE_SOURCES=mine={self.source}, and ask for 'mine'"


class MissingExtra(ConfigurationError, ImportError):
    """``what`` needs the modules ``missing``, which only the extra ``extra`` of tbcache brings."""

    def __init__(self, what: str, missing: Iterable[str], extra: str, otherwise: str = "") -> None:
        self.what = what
        self.missing = tuple(missing)
        self.extra = extra
        self.otherwise = otherwise
        *most, last = self.missing
        modules = f"{', '.join(most)} and {last}" if most else last
        ways = ", or ".join(filter(None, (f"pip install 'tbcache[{extra}]'", otherwise)))
        super().__init__(f"{what} needs {modules}: {ways}")


class InvalidRequest(TbcacheError, ValueError):
    """The request cannot be made as it is written."""


class UnknownJob(InvalidRequest):
    """No such job is queued: it is over, or was never there."""


class RedisUnreachable(TbcacheError, ConnectionError):
    """Redis is needed for this and is not reachable, or refuses to do it (``is_refusal``).

    ``is_passing``: it is there, and only does not answer yet. Its ``address`` is empty where none is
    configured. ``left``: of many jobs that were to be queued, those of which Redis has not said that they
    are.
    """

    left: Sequence[Any] = ()

    def __init__(
        self, address: str, reason: str, *, is_refusal: bool = False, is_passing: bool = False
    ) -> None:
        self.address = address
        self.reason = reason
        self.is_refusal = is_refusal
        self.is_passing = is_passing
        super().__init__(_unreachable(address, reason, is_refusal=is_refusal, is_passing=is_passing))


def _unreachable(address: str, reason: str, *, is_refusal: bool, is_passing: bool) -> str:
    if is_refusal:
        return f"Redis at {address} refuses what it is asked ({reason})."
    if is_passing:
        return f"Redis at {address} is there, and gives no answer in time: it is busy, loading, or frozen."
    if re.search(r"\bAUTH\b|authentication|password", reason, re.IGNORECASE):
        return (
            f"Redis at {address} refuses the login ({reason}); "
            "check REDIS_PASSWORD or the password in REDIS_URL"
        )
    what = f"Redis is not reachable at {address}" if address else "No Redis is configured"
    return (
        f"{what} ({reason}). "
        "Start one with `docker compose up redis`, or run `tbcache up` for an embedded server."
    )


class RateLimited(TbcacheError):
    """No slot comes free before the caller's patience ends.

    ``retry_at`` is when one does (UTC).
    """

    #: What a ``Failure`` is called that comes of it.
    kind: ClassVar[str] = "rate_limited"

    def __init__(self, source: str, retry_at: datetime, reason: str = "limit reached") -> None:
        self.source = source
        self.retry_at = retry_at
        self.reason = reason
        super().__init__(f"{source}: {reason}; the next slot is free at {retry_at:%Y-%m-%d %H:%M:%S} UTC")

    @property
    def retry_after(self) -> float:
        """Seconds from now until ``retry_at``; never negative."""
        return max(0.0, (self.retry_at - datetime.now(UTC)).total_seconds())


class AnswerPending(RateLimited):
    """The answer was not there before the caller's patience ended, though no limit is in its way: another
    process is still fetching it. ``retry_at`` is when to ask again.
    """

    def __init__(self, source: str, retry_at: datetime, reason: str = "another process fetches it") -> None:
        super().__init__(source, retry_at, reason)
        self.args = (f"{source}: {reason}; ask again",)


class BudgetExhausted(RateLimited):
    """The source's daily budget is spent; ``retry_at`` is the next UTC midnight.

    A few seconds from now where it may not be: pages are under way, or Redis is away, and what is
    left is not known, or is other processes'.
    """

    kind = "budget_exhausted"

    def __init__(self, source: str, retry_at: datetime, reason: str = "daily budget spent") -> None:
        super().__init__(source, retry_at, reason)


class Paused(RateLimited):
    """An operator has paused the source or the queue, or drains it; ``reason`` says who, and why.

    Nobody knows until when: ``retry_at`` is when to ask again. ``left``: of many jobs that were to be queued,
    those that are not.
    """

    kind = "paused"
    left: Sequence[Any] = ()

    def __init__(self, source: str, retry_at: datetime, reason: str = "paused") -> None:
        super().__init__(source, retry_at, reason)
        self.args = (f"{source}: {reason}; it goes on when an operator resumes it",)


class ResultTimeout(TbcacheError, TimeoutError):
    """A queued fetch had no result within the time given."""


class UpstreamError(TbcacheError):
    """The upstream's answer is no page of items.

    ``status`` is the HTTP status (0 when there was no answer); ``retry_at`` is
    the moment (UTC) from which the upstream may be asked again, where it said so.
    """

    kind: ClassVar[str] = "error"
    #: Worth another try of the same request, later.
    transient: ClassVar[bool] = False
    #: The request was sent, and no answer to it came: it may have been served, and billed.
    is_unanswered = False

    def __init__(
        self, source: str, message: str, *, status: int = 0, retry_at: datetime | None = None
    ) -> None:
        self.source = source
        self.message = message
        self.status = status
        self.retry_at = _aware(retry_at)
        super().__init__(f"{source}: {message}" + (f" (HTTP {status})" if status else ""))


def _aware(moment: object) -> datetime | None:
    """``moment``; None, and a warning, where it is none. The refusal must not be lost for that."""
    if moment is None or (isinstance(moment, datetime) and moment.tzinfo is not None):
        return moment
    # Where warnings are errors, the refusal counts all the same.
    with contextlib.suppress(TbcacheWarning):
        warnings.warn(
            f"retry_at={moment!r:.60} is left out: it should be a datetime with a time zone, like "
            "datetime.now(UTC) + timedelta(seconds=30)",
            TbcacheWarning,
            stacklevel=3,
        )
    return None


class UpstreamThrottled(UpstreamError):
    """Too many requests; ``retry_at`` where the upstream said when."""

    kind = "throttled"
    transient = True


class UpstreamQuotaExhausted(UpstreamError):
    """A quota (day, month, credits) is used up; not to be retried before ``until``."""

    kind = "quota"

    def __init__(
        self,
        source: str,
        message: str,
        *,
        status: int = 0,
        retry_at: datetime | None = None,
        until: datetime | None = None,
    ) -> None:
        super().__init__(source, message, status=status, retry_at=until or retry_at)

    @property
    def until(self) -> datetime | None:
        """When the quota resets (UTC), where it is known."""
        return self.retry_at


class UpstreamAuthError(UpstreamError):
    """The credentials are missing, wrong or revoked."""

    kind = "auth"


class UpstreamNotEntitled(UpstreamError):
    """The plan or the account does not include this."""

    kind = "not_entitled"


class UpstreamNotFound(UpstreamError):
    """The upstream knows no such symbol or page."""

    kind = "not_found"


class UpstreamBadRequest(UpstreamError):
    """The upstream did not understand the request."""

    kind = "bad_request"


class UpstreamUnavailable(UpstreamError):
    """The upstream is down, overloaded, or did not answer."""

    kind = "unavailable"
    transient = True


class UpstreamPayloadError(UpstreamError):
    """A success that is empty, cut off, or not of the documented shape."""

    kind = "payload"
    transient = True


LIMIT_ERRORS: dict[str, type[RateLimited]] = {cls.kind: cls for cls in (RateLimited, BudgetExhausted, Paused)}

UPSTREAM_ERRORS: dict[str, type[UpstreamError]] = {
    cls.kind: cls
    for cls in (
        UpstreamError,
        UpstreamThrottled,
        UpstreamQuotaExhausted,
        UpstreamAuthError,
        UpstreamNotEntitled,
        UpstreamNotFound,
        UpstreamBadRequest,
        UpstreamUnavailable,
        UpstreamPayloadError,
    )
}
