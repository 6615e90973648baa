"""The seed's limiter, exact."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import tbcache
from tbcache.io import BLOCKING
from tbcache.limiter import limiter_of
from tbcache.limiter.script import TAKE, Late, Take
from tbcache.models import Limit
from tbcache.models.error import InvalidRequest, RateLimited
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN
from tbcache.store import Store, get_store
from tbcache.store.constant import ABSENT_SECONDS
from tests.server import Server, sending, sent_here, wait_until

pytestmark = [pytest.mark.every_server, pytest.mark.usefixtures("every_driver")]


@pytest.fixture
def limiter(store: Store) -> RateLimiter:
    return RateLimiter(replace(BUILT_IN["twitter"], limits=(Limit(3, 60.0),)), store)


def test_it_allows_up_to_the_limit_and_tells_where_it_stands(limiter: RateLimiter) -> None:
    """What the seed's callers read."""
    standings = [limiter.check_rate_limit() for _ in range(4)]
    assert [allowed for allowed, _ in standings] == [True, True, True, False]
    assert [status.used for _, status in standings] == [1, 2, 3, 3]
    assert [status.remaining for _, status in standings] == [2, 1, 0, 0]
    last = standings[-1][1]
    assert (last.source, last.allowed, last.is_limited) == ("twitter", 3, True)
    assert last.reset_at == pytest.approx(datetime.now(UTC) + timedelta(seconds=60), abs=timedelta(seconds=2))


def test_a_window_of_ones_own_goes_before_the_sources(limiter: RateLimiter) -> None:
    """The seed passes limit and window at each call."""
    for _ in range(5):
        assert limiter.check_rate_limit(limit=5, window_seconds=30)[0]
    allowed, status = limiter.check_rate_limit(limit=5, window_seconds=30)
    assert (allowed, status.window_seconds) == (False, 30)


def test_a_promised_slot_is_given_back_when_somebody_may_be_going_on_alone(
    limiter: RateLimiter, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the fleet nothing was heard since the promise: what leaves may be taken again by whoever had it."""
    limiter.check_rate_limit(limit=1, window_seconds=0.6)
    limiter_of(store).process_window("twitter").promises.record_fleet(time.monotonic(), ABSENT_SECONDS)
    ran: list[str] = []
    run = store.ask
    monkeypatch.setattr(store, "ask", lambda script, call: (ran.append(script.name), run(script, call))[1])
    limiter.wait_if_needed(limit=1, window_seconds=0.6)
    assert ran == ["take", "release", "take"]
    assert limiter.get_status(limit=1, window_seconds=0.6).used == 1


def test_a_window_of_ones_own_is_the_calls_alone(limiter: RateLimiter, store: Store) -> None:
    """The limits of the source stay what they are, for all others."""
    limiter.check_rate_limit(limit=1, window_seconds=30)
    assert limiter_of(store).process_window("twitter").configured == limiter.source.limits


def test_all_limits_of_a_source_hold_where_a_call_names_none(store: Store) -> None:
    """Whichever of them stands first."""
    limits = (Limit(5, 60.0), Limit(2, 3600.0))
    limiter = RateLimiter(replace(BUILT_IN["twitter"], limits=limits), store)
    assert [limiter.check_rate_limit()[0] for _ in range(3)] == [True, True, False]


def close(store: Store, seconds: float) -> None:
    """What is there when the upstream has said stop."""
    now, micros = store.client.time()
    until = now * 1_000_000 + micros + round(seconds * 1e6)
    store.client.hset(store.keys.state("twitter"), mapping={"closed_until": until, "closed_reason": "stop"})


def test_who_waits_for_a_source_to_open_takes_a_slot_then(limiter: RateLimiter, store: Store) -> None:
    """Until when it is closed is known, but promises no slot."""
    close(store, 0.3)
    with pytest.raises(RateLimited, match="stop"):
        limiter.wait_if_needed(max_wait=0)
    limiter.wait_if_needed(max_wait=20)
    assert store.client.zcard(store.keys.slots("twitter")) == 1


def test_a_reset_opens_what_is_closed(limiter: RateLimiter, store: Store) -> None:
    """And forgets every slot."""
    assert all(limiter.check_rate_limit()[0] for _ in range(3))
    close(store, 60.0)
    limiter.reset()
    assert limiter.check_rate_limit()[1].used == 1


def test_a_look_counts_nothing(limiter: RateLimiter) -> None:
    """A dashboard must not use up what it shows."""
    for _ in range(10):
        assert limiter.get_status().used == 0
    limiter.check_rate_limit()
    assert (limiter.get_status().used, limiter.get_status().is_limited) == (1, False)


def test_a_wait_takes_the_slot_it_waited_for(limiter: RateLimiter) -> None:
    """Or the next caller would walk past it."""
    begun = time.monotonic()
    limiter.check_rate_limit(limit=1, window_seconds=0.3)
    status = limiter.wait_if_needed(limit=1, window_seconds=0.3)
    assert 0.29 < time.monotonic() - begun < 5
    assert status.used == 1
    assert not limiter.check_rate_limit(limit=2, window_seconds=30)[0]


def test_a_wait_too_long_is_refused_at_once(limiter: RateLimiter) -> None:
    """And says when it would be worth another try."""
    for _ in range(3):
        limiter.check_rate_limit()
    begun = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        limiter.wait_if_needed(max_wait=20)
    assert time.monotonic() - begun < 10
    assert 50 < caught.value.retry_after <= 60


def test_a_slot_is_held_around_a_request_of_ones_own(limiter: RateLimiter, store: Store) -> None:
    """Exact whatever the network's delay: the stamp is the answer's."""
    key = store.keys.slots("twitter")
    with limiter.slot() as status:
        [(_, held)] = store.client.zrange(key, 0, -1, withscores=True)
    [(_, stamp)] = store.client.zrange(key, 0, -1, withscores=True)
    assert status.used == 1
    assert held - stamp > 10e6


def test_reset_forgets(limiter: RateLimiter, store: Store) -> None:
    """An operator's way out. What this process would put back into the window is forgotten as well."""
    for _ in range(4):
        limiter.check_rate_limit()
    limiter.reset()
    assert limiter_of(store).process_window("twitter").ages() == []
    assert limiter.get_status().used == 0
    assert limiter.check_rate_limit()[0]


def test_a_weight_counts_as_it_is_said(limiter: RateLimiter) -> None:
    """A request of weight two is two."""
    assert limiter.check_rate_limit(cost=2)[1].used == 2
    assert not limiter.check_rate_limit(cost=2)[0]


@pytest.mark.one_driver
@pytest.mark.parametrize("protocol", [0, 5])
def test_a_standing_goes_to_another_process_and_version(limiter: RateLimiter, protocol: int) -> None:
    """A pool of processes hands it on; a frozen one, as it was, has its values in a list."""
    status = limiter.get_status()
    assert pickle.loads(pickle.dumps(status, protocol)) == status  # noqa: S301
    assert status.__reduce_ex__(4)[2] == [getattr(status, one.name) for one in fields(status)]


class Several:
    """Refuses to be compared, as an array of numpy does."""

    def __ne__(self, other: object) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    def __repr__(self) -> str:
        return "several"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit 0 must be at least 1"),
        ({"window_seconds": 0}, "window of 0 s must be longer"),
        ({"cost": 4}, "cost 4 must be from 1 to the limit, 3"),
        ({"cost": 0}, "cost 0 must be"),
        ({"cost": "1"}, "cost '1' must be a whole number"),
        ({"cost": True}, "cost True must be a whole number"),
        ({"cost": Several()}, "cost several must be a whole number"),
        ({"cost": 10**9000}, "cost a number of thousands of digits must be from 1 to the limit, 3"),
        ({"limit": "10"}, "limit '10' must be a whole number"),
        ({"limit": 1.5}, "limit 1.5 must be a whole number"),
        ({"limit": [5]}, r"limit \[5\] must be a whole number"),
        ({"limit": True}, "limit True must be a whole number"),
        ({"limit": 10**9000}, "limit a number of thousands of digits must be at most"),
        ({"window_seconds": "60"}, "window '60' must be a number of seconds"),
        ({"window_seconds": 10**9000}, "must be 366 d at most"),
    ],
)
def test_bad_input_is_one_clear_line(limiter: RateLimiter, arguments: dict[str, Any], message: str) -> None:
    """What, and what would be right."""
    with pytest.raises(InvalidRequest, match=message):
        limiter.check_rate_limit(**arguments)


def test_redis_away_goes_on_with_the_share_of_one(
    private_server: Server, store_for: Callable[..., Store]
) -> None:
    """Three processes share three: each has one."""
    store = store_for(private_server)
    limiter = RateLimiter(replace(BUILT_IN["twitter"], limits=(Limit(3, 60.0),)), store)
    limiter.get_status()
    limiter_of(store).process_window("twitter").share = 1 / 3
    private_server.kill()
    with sending() as sent:
        assert [limiter.check_rate_limit()[0] for _ in range(2)] == [True, False]
    assert len(sent_here(sent)) == 1, "the second needs not find out that Redis is away"
    private_server.start()
    wait_until(lambda: store.is_available)
    assert store.client.zcard(store.keys.slots("twitter")) == 1


def test_a_look_alone_leaves_nothing_that_stays(limiter: RateLimiter, store: Store) -> None:
    """A dashboard on an idle system must not fill Redis."""
    limiter.get_status()
    assert store.client.keys("*{twitter}*") == []


def test_an_ask_past_its_deadline_takes_nothing(limiter: RateLimiter, store: Store) -> None:
    """A server that thaws must not spend slots on those who have gone; one who is there asks again."""
    ask = Take(
        limiter_of(store).window_keys("twitter"),
        "3:60000000",
        True,
        "zombie",
        1,
        0,
        0,
        1,
        "",
        0,
        "me",
        "fleet",
    )
    assert isinstance(store.run(TAKE, ask), Late)
    assert store.client.keys("*twitter*") == []
    assert limiter.get_status().used == 0


def test_the_oldest_slot_says_when_one_comes_free(limiter: RateLimiter, store: Store) -> None:
    """Not the newest, and not now."""
    limiter.check_rate_limit()
    [(_, stamp)] = store.client.zrange(store.keys.slots("twitter"), 0, -1, withscores=True)
    limiter.check_rate_limit()
    free_at = limiter.get_status().reset_at.timestamp()
    assert free_at == pytest.approx(stamp / 1e6 + 60, abs=0.001)


def test_a_process_that_only_limits_is_known_to_the_fleet(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or with Redis away it would go by the whole limit, beside all the others."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    limiter = tbcache.get_rate_limiter("reddit")
    assert limiter.get_status().used == 0
    assert not limiter_of(get_store()).process_window("reddit").is_member
    assert limiter.check_rate_limit()[0]
    assert limiter_of(get_store()).process_window("reddit").is_member
    tbcache.get_usage_monitor().leave()


@pytest.mark.parametrize("wait", [float("nan"), "soon", None])
def test_a_wait_that_is_no_number_is_refused_and_for_ever_is_long(
    store: Store, wait: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every error is one of ours; infinity means what it says."""
    limiter = RateLimiter(replace(BUILT_IN["twitter"], limits=(Limit(3, 60.0),)), store)
    if wait is None:
        assert limiter.wait_if_needed(max_wait=float("inf")).used == 1
    else:
        with pytest.raises(InvalidRequest, match="is no number of seconds"):
            limiter.wait_if_needed(max_wait=wait)  # type: ignore[arg-type]


@pytest.mark.one_driver
def test_a_slot_promised_to_one_who_breaks_off_is_given_back(
    limiter: RateLimiter, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while it waits: nothing is sent, and the others have the slot."""
    limiter.check_rate_limit(limit=1, window_seconds=30)

    async def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    limiter_of(store).process_window("twitter").promises.record_fleet(time.monotonic(), ABSENT_SECONDS)
    with monkeypatch.context() as patch:
        patch.setattr(BLOCKING, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            limiter.wait_if_needed(limit=1, window_seconds=30)
    assert store.client.zcard(store.keys.slots("twitter")) == 1
