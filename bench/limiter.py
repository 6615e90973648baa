"""The limiters, each used as its documentation says, behind one protocol.

A peer is imported when it is asked for: the tests have none of them.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

from tbcache.admission import Admission, Ask, Go, Grant, Settlement, Wait
from tbcache.io import run
from tbcache.models import Failure, FetchRequest, Lane, Limit, RateHint
from tbcache.monitoring import UsageMonitor
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store

#: Where a peer leaves it to the caller how often to ask again.
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Answer:
    """What the upstream said to a request: why it refused it, and what its headers say is left."""

    refusal: Failure | None = None
    hint: RateHint | None = None


ACCEPTED = Answer()


class Done(Protocol):
    def __call__(self, answer: Answer = ACCEPTED) -> None: ...


class Limiter(Protocol):
    """``acquire`` waits for a permit until ``give_up`` (monotonic). It returns what to call once
    the upstream has answered, or None when there was no permit."""

    def acquire(self, give_up: float) -> Done | None: ...


Build = Callable[[str, Limit, str], Limiter]


def _nothing(answer: Answer = ACCEPTED) -> None:
    """Peers do not care when the answer comes, nor what it is."""


class Tbcache:
    """Admission: ``admit`` before the request, ``settle`` after it."""

    def __init__(self, url: str, limit: Limit, key: str) -> None:
        settings = Settings.load({"REDIS_URL": url})
        self.store = Store(settings)
        self.monitor = UsageMonitor(self.store, settings)
        self.admission = Admission(self.store, settings, self.monitor)
        self.source = replace(BUILT_IN["reddit"], name=key, limits=(limit,), missing=())
        self._numbers = itertools.count()
        self._prefix = f"P{os.getpid()}N"

    def acquire(self, give_up: float, lane: Lane = "interactive") -> Done | None:
        request = FetchRequest(self.source.name, f"{self._prefix}{next(self._numbers)}")
        while (now := time.monotonic()) < give_up:
            # Pre-warming waits in the queue, which takes a slot only when there is one.
            patience = give_up - now if lane == "interactive" else 0.0
            verdict = run(self.admission.admit(Ask(self.source, request, lane, patience=patience)))
            if isinstance(verdict, Wait):
                time.sleep(min(verdict.seconds, max(0.0, give_up - time.monotonic())))
            elif isinstance(verdict, Go):
                grant = verdict.grant
                if (early := grant.starts_at - time.monotonic()) > 0:
                    time.sleep(early)
                if self.admission.may_send(grant):
                    return functools.partial(self._settle, grant)
                run(self.admission.settle(grant, Settlement()))
        return None

    def _settle(self, grant: Grant, answer: Answer = ACCEPTED) -> None:
        hints = () if answer.hint is None else (answer.hint,)
        if answer.refusal is None:
            settlement = Settlement(payload=b"1", pages=1, hints=hints)
        else:
            settlement = Settlement(failure=answer.refusal, closed_by=answer.refusal, pages=1)
        run(self.admission.settle(grant, settlement))


class _Limits:
    """limits: ``hit``, and when it says no, sleep until what ``get_window_stats`` gives."""

    def __init__(self, strategy: str, url: str, limit: Limit, key: str) -> None:
        import limits

        self._limiter = getattr(limits.strategies, strategy)(limits.storage.storage_from_string(url))
        self._item = limits.RateLimitItemPerSecond(limit.count, int(limit.window_seconds))
        self._key = key

    def acquire(self, give_up: float) -> Done | None:
        while time.monotonic() < give_up:
            if self._limiter.hit(self._item, self._key):
                return _nothing
            seconds = self._limiter.get_window_stats(self._item, self._key).reset_time - time.time()
            time.sleep(min(max(seconds, 0.001), max(0.0, give_up - time.monotonic())))
        return None


class _Pyrate:
    """pyrate-limiter: ``try_acquire`` blocks."""

    def __init__(self, url: str, limit: Limit, key: str) -> None:
        import redis
        from pyrate_limiter import Limiter, Rate, RedisBucket

        rate = Rate(limit.count, int(limit.window_seconds * 1000))
        bucket: Any = RedisBucket.init([rate], redis.Redis.from_url(url), key)
        self._limiter = Limiter(bucket)
        self._key = key

    def acquire(self, give_up: float) -> Done | None:
        try:
            left = max(0.001, give_up - time.monotonic())
            return _nothing if self._limiter.try_acquire(self._key, timeout=left) else None
        except TimeoutError:
            return None


class _Throttled:
    """throttled-py: ``limit`` with a timeout blocks."""

    def __init__(self, algorithm: str, url: str, limit: Limit, key: str) -> None:
        from throttled import Throttled, per_duration, store

        quota = per_duration(timedelta(seconds=limit.window_seconds), limit.count)
        self._limiter = Throttled(key=key, using=algorithm, quota=quota, store=store.RedisStore(server=url))

    def acquire(self, give_up: float) -> Done | None:
        while (left := give_up - time.monotonic()) > 0:
            if not self._limiter.limit(timeout=left).limited:
                return _nothing
            # It gives up at once where it foresees a longer wait than the timeout.
            time.sleep(min(POLL_SECONDS, left))
        return None


class _Dramatiq:
    """dramatiq: ``acquire`` says no at once; the caller comes back."""

    def __init__(self, kind: str, url: str, limit: Limit, key: str) -> None:
        from dramatiq import rate_limits
        from dramatiq.rate_limits.backends import RedisBackend

        backend = RedisBackend(url=url)
        if kind == "window":
            window = int(limit.window_seconds)
            self._limiter: Any = rate_limits.WindowRateLimiter(backend, key, limit=limit.count, window=window)
        else:
            bucket = int(limit.window_seconds * 1000)
            self._limiter = rate_limits.BucketRateLimiter(backend, key, limit=limit.count, bucket=bucket)

    def acquire(self, give_up: float) -> Done | None:
        while time.monotonic() < give_up:
            with self._limiter.acquire(raise_on_failure=False) as is_acquired:
                if is_acquired:
                    return _nothing
            time.sleep(POLL_SECONDS)
        return None


def limits_fixed(url: str, limit: Limit, key: str) -> Limiter:
    return _Limits("FixedWindowRateLimiter", url, limit, key)


def limits_counter(url: str, limit: Limit, key: str) -> Limiter:
    return _Limits("SlidingWindowCounterRateLimiter", url, limit, key)


def limits_moving(url: str, limit: Limit, key: str) -> Limiter:
    return _Limits("MovingWindowRateLimiter", url, limit, key)


def throttled_sliding(url: str, limit: Limit, key: str) -> Limiter:
    return _Throttled("sliding_window", url, limit, key)


def throttled_gcra(url: str, limit: Limit, key: str) -> Limiter:
    return _Throttled("gcra", url, limit, key)


def dramatiq_window(url: str, limit: Limit, key: str) -> Limiter:
    return _Dramatiq("window", url, limit, key)


def dramatiq_bucket(url: str, limit: Limit, key: str) -> Limiter:
    return _Dramatiq("bucket", url, limit, key)


LIMITERS: dict[str, Build] = {
    "tbcache": Tbcache,
    "limits fixed window": limits_fixed,
    "limits sliding counter": limits_counter,
    "limits moving window": limits_moving,
    "pyrate-limiter": _Pyrate,
    "throttled-py sliding": throttled_sliding,
    "throttled-py GCRA": throttled_gcra,
    "dramatiq window": dramatiq_window,
    "dramatiq bucket": dramatiq_bucket,
}
