"""Actors paced on the brokers of dramatiq's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import CurrentMessage, Middleware, SkipMessage
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

from tbcache.models import Limit
from tbcache.queue import RateLimitMiddleware
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN
from tbcache.store import Store
from tests.server import Server, wait_until

REDDIT = replace(BUILT_IN["reddit"], limits=(Limit(2, 600.0),), missing=())


class Line:
    """A broker, an actor that reddit paces, and what it did: each argument, and the retries by then."""

    def __init__(self, broker: Any, limiter: RateLimiter) -> None:
        self.broker, self.limiter = broker, limiter
        self.results: Any = cast(Any, StubBackend)()
        self.ran: list[tuple[str, int]] = []
        broker.add_middleware(cast(Any, Results)(backend=self.results, store_results=True))
        broker.add_middleware(CurrentMessage())
        broker.add_middleware(RateLimitMiddleware({"reddit": limiter}))
        self.actor = dramatiq.actor(
            broker=broker, actor_name="post", min_backoff=1, **cast(Any, {"source": "reddit"})
        )(self._post)
        self._worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=20)

    def _post(self, what: str) -> str:
        message: Any = CurrentMessage.get_current_message()
        self.ran.append((what, message.options.get("retries", 0)))
        if what == "fails" and len(self.ran) == 1:
            raise RuntimeError("once")
        return what

    def start(self) -> None:
        self._worker.start()

    def stop(self) -> None:
        self._worker.stop(30_000)
        self.broker.flush_all()

    def has_result(self, message: Any) -> bool:
        return self.results.build_message_key(message) in self.results.results


@pytest.fixture(params=["stub", "redis"])
def line(request: pytest.FixtureRequest, server: Server, store: Store) -> Iterator[Line]:
    broker: Any = StubBroker() if request.param == "stub" else cast(Any, RedisBroker)(url=server.url)
    line = Line(broker, RateLimiter(REDDIT, store))
    yield line
    line.stop()
    server.flush()  # Keys of RedisBroker's live for ever.


def put_back(line: Line, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long each message that is put back is to wait (ms); in truth it waits for 20."""
    waits: list[int] = []
    enqueue: Callable[..., Any] = line.broker.enqueue

    def soon(message: Any, *, delay: int | None = None) -> Any:
        waits.extend([] if delay is None else [delay])
        return enqueue(message, delay=None if delay is None else 20)

    monkeypatch.setattr(line.broker, "enqueue", soon)
    return waits


def test_a_job_waits_for_its_slot_without_a_retry_or_a_result(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit is no failure, and a job that has not run is not done."""
    waits = put_back(line, monkeypatch)
    messages = [line.actor.send(name) for name in ("first", "second", "third")]
    line.start()
    wait_until(lambda: len(waits) > 2)
    assert [name for name, _ in line.ran] == ["first", "second"]
    assert not line.has_result(messages[2])
    assert min(waits) > 500_000
    line.limiter.reset()
    wait_until(lambda: line.has_result(messages[2]))
    assert (line.ran[2:], line.results.get_result(messages[2])) == ([("third", 0)], "third")


def test_a_retry_takes_a_slot_of_its_own(line: Line, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks the upstream again; the slot of the first try would be given out twice."""
    put_back(line, monkeypatch)
    message = line.actor.send("fails")
    line.start()
    wait_until(lambda: line.has_result(message))
    assert line.ran == [("fails", 0), ("fails", 1)]
    held = store.client.zrange(store.keys.slots("reddit"), 0, -1, withscores=True)
    now, micros = store.client.time()
    # Both are committed: they leave a window after their jobs' ends, and not after their holds.
    assert [stamp <= now * 1e6 + micros for _, stamp in held] == [True, True]


def test_what_cannot_be_paced_does_not_run(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dramatiq goes on after a middleware's error: the limit would be open for as long as the fault lasts."""
    waits = put_back(line, monkeypatch)
    hold = line.limiter.hold
    monkeypatch.setattr(line.limiter, "hold", lambda **_: 1 / 0)
    message = line.actor.send("careful")
    line.start()
    wait_until(lambda: len(waits) > 1)
    assert (line.ran, line.has_result(message)) == ([], False)
    monkeypatch.setattr(line.limiter, "hold", hold)
    wait_until(lambda: line.has_result(message))
    assert line.ran == [("careful", 0)]


class Skipping(Middleware):
    def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:
        raise SkipMessage("not today")


def test_a_job_that_is_skipped_gives_its_slot_back(line: Line, store: Store) -> None:
    """Nothing was sent with it."""
    line.broker.add_middleware(Skipping())
    message = line.actor.send("skipped")
    line.start()
    wait_until(lambda: line.has_result(message))
    assert (line.ran, store.client.zcard(store.keys.slots("reddit"))) == ([], 0)


def test_a_job_that_cannot_be_put_back_is_dead_and_not_run(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledged it would be lost, and run it would break the limit."""
    assert all(line.limiter.check_rate_limit()[0] for _ in range(2))
    message = line.actor.send("unlucky")
    monkeypatch.setattr(line.broker, "enqueue", lambda *_, **__: 1 / 0)
    line.start()
    wait_until(lambda: line.has_result(message))
    with pytest.raises(dramatiq.results.ResultFailure, match="limit"):
        line.results.get_result(message)
    assert line.ran == []
