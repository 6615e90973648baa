"""What holds a source up, since when and until when, as the fleet's status has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tbcache.fleet import Fleet, SourceStatus, hindrances, look, source_look, trouble
from tbcache.io import utc_now
from tbcache.models import FetchRequest
from tbcache.monitoring import UsageMonitor, Workload
from tbcache.monitoring.figure import recent_metrics
from tbcache.queue import Queue
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings, get_source
from tbcache.store import Store
from tbcache.store.state import Failing
from tests.server import Server

SettingsFor = Callable[..., Settings]
NOON = 30_000_000


@pytest.fixture
def settings(server: Server, settings_for: SettingsFor) -> Settings:
    return settings_for(
        server,
        TBCACHE_TWITTER__BEARER_TOKEN="secret",
        TBCACHE_TWITTER__DAILY_BUDGET="2",
        TBCACHE_REDIS_TIMEOUT="10",
    )


@pytest.fixture
def fleet(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(look, "STARTING_SECONDS", 0.0)
    return Fleet(settings, store)


def source(fleet: Fleet, name: str) -> SourceStatus:
    return next(one for one in fleet.status().sources if one.name == name)


def test_when_the_next_may_go_is_not_told_of_a_paused_source_and_is_midnight_for_a_spent_one(
    store: Store, settings: Settings, fleet: Fleet
) -> None:
    """It was "in a second" for ever; and money that is spent was a limit with 272 left."""
    assert RateLimiter(get_source("twitter", settings), store).check_rate_limit()[0]
    (limit,) = source(fleet, "twitter").limits
    assert limit.reset_at is not None
    operator = fleet.as_operator("ada")
    operator.pause("twitter", "too dear")
    (limit,) = source(fleet, "twitter").limits
    assert (limit.is_limited, limit.reset_at, limit.remaining) == (True, None, 299)
    operator.resume("twitter")
    key = store.keys.usage("twitter", utc_now())
    store.client.hset(key, "spent", 2_000_000)
    store.client.expire(key, 60)
    found = source(fleet, "twitter")
    (limit,) = found.limits
    assert found.spent_until is not None
    assert (limit.reset_at, limit.reason) == (found.spent_until, "the day's budget ($2) is spent")
    assert limit.is_limited


def test_a_source_that_is_closed_for_longer_than_its_window_says_until_when(
    store: Store, fleet: Fleet
) -> None:
    """It was told as long as a slot stood in the window, and then nobody knew."""
    state = store.keys.state("twitter")
    store.client.hset(state, mapping={"closed_until": 4_000_000_000_000_000, "closed_reason": "quota"})
    store.client.expire(state, 60)
    found = source(fleet, "twitter")
    assert found.closed_until is not None
    assert [(one.used, one.is_limited, one.reset_at) for one in found.limits] == [
        (0, True, found.closed_until)
    ]
    assert found.shut_until == found.closed_until


def test_a_queue_that_is_not_done_for_long_is_a_trouble(
    store: Store, settings: Settings, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is kept warm gets old behind it. Who watches for alerts sees it as well; and a source that
    stands still has its own trouble."""
    monkeypatch.setattr(trouble, "LONG_SECONDS", 40.0)
    monkeypatch.setattr(source_look, "LONG_SECONDS", 40.0)
    monitor = UsageMonitor(store, settings)
    monitor.beat("worker", started_at=utc_now(), workload=Workload(serves=("twitter",)))
    queue = Queue(store, settings)

    def enqueue(count: int) -> None:
        queue.enqueue_many([FetchRequest("twitter", f"S{number}") for number in range(count)])

    enqueue(310)
    assert fleet.status().troubles == fleet.outline().troubles == ()
    enqueue(320)
    for seen in (fleet.status(), fleet.outline()):
        (found,) = seen.troubles
        assert (found.kind, found.source) == ("backlog", "twitter")
        assert found.what == "twitter: 320 jobs wait, and 300/15m takes about 1 min for them"
        # Twenty more than its window has room for, one in three seconds.
        assert found.until is not None
        assert timedelta(seconds=59) < found.until - seen.at < timedelta(seconds=61)
    # What is sent is no job done while all of it fails: the moment went on with the clock, ten hours ahead.
    monitor.count("twitter", {"go": 5, "ms20": 5, "error.unavailable": 5})
    assert monitor.flush()
    for seen in (fleet.status(), fleet.outline()):
        failing, found = seen.troubles
        assert (failing.kind, found.kind, found.until) == ("failing", "backlog", None)
        assert found.what == (
            "twitter: 320 jobs wait, and nobody knows for how long while it is failing; "
            "300/15m takes about 1 min for them from then on"
        )
        assert found.since == failing.since is not None
    whole = fleet.status()
    told = [one for one in hindrances(whole, "twitter") if "320 jobs in its queue" in one.what]
    assert [one.until for one in told] == [None]
    assert [one.backlog_seconds for one in whole.sources if one.name == "twitter"] == [None]
    fleet.as_operator("ada").pause("twitter")
    assert [one.kind for one in fleet.status().troubles] == ["paused"]


def minutes(*failed: int) -> dict[int, Counter[str]]:
    """What was counted since each minute: five fetches in each, of which so many failed."""
    found, total = dict[int, Counter[str]](), Counter[str]()
    for place, count in reversed([*enumerate(failed)]):
        total = total + Counter({"ms40": 5, "go": 5, "error.unavailable": count})
        found[NOON + place] = total
    return found


@pytest.mark.parametrize(
    ("failed", "since", "is_failing"),
    [
        ((0, 4, 5, 3), NOON + 1, True),
        ((0, 5, 5, 5, 0), NOON + 1, False),
        ((1, 0, 0, 0), NOON, False),
        ((0, 0), None, False),
    ],
)
def test_a_source_fails_since_its_first_failure_and_no_longer_once_all_goes_well(
    failed: tuple[int, ...], since: int | None, is_failing: bool
) -> None:
    """It was failing since no moment, and for five minutes after its last failure, with twelve good fetches
    since."""
    counted = minutes(*failed)
    recent = recent_metrics("news", 300.0, counted[NOON], counted)
    assert recent.is_failing is is_failing
    assert recent.since == (None if since is None else datetime.fromtimestamp(since * 60, UTC))


def test_a_source_of_jobs_alone_fails_no_longer_once_one_goes_well() -> None:
    """None of them is counted that does: it was failing for five minutes."""
    recent = recent_metrics("news", 300.0, Counter({"error.throttled": 1}))
    assert not recent.is_failing
    assert replace(recent, last=Failing(utc_now(), 1, ("throttled",))).is_failing
