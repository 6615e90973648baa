"""What becomes of the jobs of paced actors whose upstream refuses them, on any broker."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import dramatiq
import httpx2
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO, CurrentMessage, SkipMessage
from dramatiq.results import ResultFailure, Results
from dramatiq.results.backends import StubBackend

import tbcache
from tbcache.admission.rate_limiter import RateLimiter
from tbcache.models import Limit
from tbcache.models.error import (
    Paused,
    RateLimited,
    UpstreamNotFound,
    UpstreamQuotaExhausted,
    UpstreamThrottled,
)
from tbcache.queue import PacingBroker, RateLimitMiddleware, refused
from tbcache.queue.refused import PacedJob
from tbcache.queue.work import MOST_RETRIES, declare_work
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store
from tests.server import Server, wait_until

REDDIT = replace(BUILT_IN["reddit"], limits=(Limit(30, 1.0),), missing=())
#: For so long the upstream refuses.
SECONDS = 1.0


class Line:
    """A broker, actors that reddit paces, when they ran (s), and with how many retries."""

    def __init__(self, broker: Any, limiter: RateLimiter) -> None:
        self.broker, self.limiter, self.store = broker, limiter, limiter.core.store
        self.results: Any = cast(Any, StubBackend)()
        self.ran: list[tuple[float, str, int]] = []
        broker.add_middleware(cast(Any, Results)(backend=self.results, store_results=True))
        broker.add_middleware(AsyncIO())
        if not isinstance(broker, PacingBroker):
            broker.add_middleware(CurrentMessage())
            broker.add_middleware(RateLimitMiddleware({"reddit": limiter}))
        self._worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=20)

    def actor(self, act: Callable[[int], Any], name: str = "post", **options: Any) -> Any:
        """An actor that does ``act`` with the number of its run, from 0."""
        numbers = itertools.count()

        def run() -> Any:
            message: Any = CurrentMessage.get_current_message()
            self.ran.append((datetime.now(UTC).timestamp(), name, message.options.get("retries", 0)))
            return act(next(numbers))

        async def run_async() -> Any:
            return run()

        given = {"min_backoff": 1, "max_backoff": 5, "source": "reddit", **options}
        function: Any = run_async if given.pop("is_async", False) else run
        return dramatiq.actor(broker=self.broker, actor_name=name, **cast(Any, given))(function)

    def start(self) -> None:
        self._worker.start()

    def stop(self) -> None:
        self._worker.stop(30_000)
        self.broker.flush_all()

    def result(self, message: Any) -> Any:
        wait_until(lambda: self.has_result(message), 30)
        return self.results.get_result(message)

    def has_result(self, message: Any) -> bool:
        return self.results.build_message_key(message) in self.results.results

    def retries(self, name: str = "post") -> list[int]:
        return [retries for _, actor, retries in self.ran if actor == name]

    @property
    def is_closed(self) -> bool:
        return bool(self.limiter.get_status().reason)

    @property
    def state(self) -> dict[str, str]:
        found = cast(Any, self.store).client.hgetall(self.store.keys.state("reddit"))
        return {name.decode(): value.decode() for name, value in found.items()}


@pytest.fixture(params=["ours", "stub", "redis"])
def line(request: pytest.FixtureRequest, server: Server, store: Store, settings: Settings) -> Iterator[Line]:
    brokers: dict[str, Callable[[], Any]] = {
        "ours": lambda: PacingBroker(store, settings, [REDDIT]),
        "stub": StubBroker,
        "redis": lambda: cast(Any, RedisBroker)(url=server.url),
    }
    line = Line(brokers[request.param](), RateLimiter(REDDIT, store))
    yield line
    line.stop()
    server.flush()  # Keys of RedisBroker's live for ever.


#: What is the same on all brokers is tried on two.
on_two = pytest.mark.parametrize("line", ["ours", "stub"], indirect=True)


def throttled(source: str = "reddit", seconds: float = SECONDS) -> Any:
    raise UpstreamThrottled(source, "slow down", retry_at=datetime.now(UTC) + timedelta(seconds=seconds))


def answer(status: int = 429) -> httpx2.Response:
    request = httpx2.Request("POST", "https://upstream.test/comment")
    return httpx2.Response(status, headers={"Retry-After": f"{SECONDS:.0f}"}, request=request)


def stated() -> Any:
    answer().raise_for_status()


def down() -> Any:
    answer(503).raise_for_status()


def stated_as_cause() -> Any:
    try:
        stated()
    except httpx2.HTTPStatusError as error:
        raise KeyError("comment") from error


def refuse_once(line: Line, refuse: Callable[[], Any], *, is_async: bool = False) -> None:
    post = line.actor(lambda number: "sent" if number else refuse(), max_retries=0, is_async=is_async)
    other = line.actor(lambda number: "sent", "other")
    line.start()
    message = post.send()
    wait_until(lambda: line.is_closed)
    messages = [message, *(other.send() for _ in range(3))]
    assert [line.result(one) for one in messages] == ["sent"] * 4
    (first, _, _), *others = line.ran
    assert min(at for at, _, _ in others) - first >= SECONDS - 0.01
    assert (line.retries(), line.retries("other")) == ([0, 0], [0] * 3)


@pytest.mark.parametrize("is_async", [False, True])
def test_what_refuses_a_job_closes_its_source_and_costs_no_try(line: Line, is_async: bool) -> None:
    """It was tried again at once, and all others of the source went on."""
    refuse_once(line, throttled, is_async=is_async)


@on_two
@pytest.mark.parametrize("refuse", [stated, down, stated_as_cause, answer])
def test_an_answer_that_refuses_a_job_is_found_as_a_fetchers_is(
    line: Line, refuse: Callable[[], Any]
) -> None:
    refuse_once(line, refuse)


@on_two
@pytest.mark.parametrize("refuse", [throttled, answer])
def test_a_job_that_is_refused_again_and_again_fails_as_any_other(
    line: Line, refuse: Callable[[], Any]
) -> None:
    """An upstream that refuses it for good would have it come again for ever."""
    message = line.actor(lambda number: refuse(), max_retries=1).send()
    line.start()
    wait_until(lambda: line.has_result(message) or (line.limiter.reopen() and False), 30)
    with pytest.raises(ResultFailure, match="UpstreamThrottled"):
        line.results.get_result(message)
    assert line.retries() == [0] * (MOST_RETRIES + 1) + [1]


@on_two
def test_a_limit_that_a_job_meets_puts_it_off_however_often(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no failure, and closes nothing: the limit is another's, or that of a fetcher which it calls."""
    monkeypatch.setattr(refused, "LIMITED_SECONDS", 0.001)

    def meet(number: int) -> str:
        if number <= MOST_RETRIES + 1:
            raise RateLimited("quotes", datetime.now(UTC))
        return "sent"

    message = line.actor(meet, max_retries=0).send()
    line.start()
    assert line.result(message) == "sent"
    assert line.retries() == [0] * (MOST_RETRIES + 3)
    assert not {"closed_until", "failing"} & line.state.keys()


@pytest.mark.parametrize("line", ["stub"], indirect=True)
def test_a_limit_that_lasts_is_met_more_and_more_seldom(line: Line) -> None:
    """Each time takes a slot of the job's own source: of a pause, whose end nobody knows, it was each."""
    waits: list[float] = []
    actor = line.actor(lambda number: None)
    job = PacedJob(actor.message(), actor, REDDIT, line.store, lambda message, *about: waits.append(about[0]))
    for _ in range(13):
        job.failed(Paused("quotes", datetime.now(UTC)))
    job.failed(RateLimited("quotes", datetime.now(UTC)))
    job.failed(RateLimited("quotes", datetime.now(UTC) + timedelta(days=1)))
    for wait, most in zip(waits, (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, *[30.0] * 7, 5.0), strict=False):
        assert most / 2 <= wait <= most + 0.01
    # Those that met it at one moment come again at others.
    assert len(set(waits[6:13])) > 1
    assert waits[14] == pytest.approx(86400.0, abs=60.0)


@on_two
def test_what_an_actor_throws_ends_its_job_and_closes_the_source_all_the_same(line: Line) -> None:
    """Its author has said what becomes of the job; the limit is everybody's."""
    message = line.actor(lambda number: throttled(), throws=UpstreamThrottled).send()
    line.start()
    with pytest.raises(ResultFailure, match="UpstreamThrottled"):
        line.result(message)
    assert (line.retries(), line.is_closed) == ([0], True)


@on_two
def test_a_retry_that_an_actor_asks_for_is_its_own(line: Line) -> None:
    def ask(number: int) -> str:
        try:
            return "sent" if number else cast(str, throttled())
        except UpstreamThrottled as error:
            raise dramatiq.Retry(delay=1) from error

    def ask_again(number: int) -> str:
        try:
            return "sent" if number else cast(str, stated())
        except httpx2.HTTPStatusError as error:
            raise dramatiq.Retry(delay=1) from error

    message = line.actor(ask_again).send()
    line.start()
    assert line.result(message) == "sent"
    assert line.retries() == [0, 1]
    assert line.ran[1][0] - line.ran[0][0] >= SECONDS - 0.01


@on_two
def test_what_is_about_one_request_closes_nothing(line: Line) -> None:
    def miss(number: int) -> str:
        if number:
            return "sent"
        raise UpstreamNotFound("reddit", "no such thread", status=404)

    message = line.actor(miss).send()
    line.start()
    assert (line.result(message), line.retries()) == ("sent", [0, 1])
    assert "closed_until" not in line.state


@on_two
def test_what_another_source_refuses_closes_that_alone(
    line: Line, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The actor asks it by a fetcher, which has closed it."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)

    @tbcache.source("quotes", limits="5/1m").fetcher(name="quote")
    def quote(number: int) -> Any:
        return [lambda: throttled("quotes"), stated, answer][number]()

    def ask(number: int) -> str:
        if number < 3:
            quote(number)
        return "sent"

    def reopened(number: int) -> str:
        tbcache.get_rate_limiter("quotes").reopen()
        return ask(number)

    message = line.actor(reopened).send()
    line.start()
    assert (line.result(message), line.retries()) == ("sent", [0, 1, 2, 3])
    assert "closed_until" not in line.state


@on_two
def test_what_a_queued_call_of_a_fetcher_meets_is_told_once(
    line: Line, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was looked at where it was met, and its tries are its own."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    tried = threading.Event()

    @tbcache.source("quotes", limits="5/1m").fetcher(name="quote")
    def quote(symbol: str) -> Any:
        return throttled("quotes")

    monkeypatch.setattr(line.broker, "enqueue", spy(line.broker.enqueue, tried))
    declare_work(line.broker)
    line.broker.enqueue(quote.message("AAPL"))
    line.start()
    assert tried.wait(30)
    assert "job.refused" not in caplog.text


def spy(enqueue: Callable[..., Any], tried: threading.Event) -> Callable[..., Any]:
    """``enqueue``, which says when a message is to be tried again."""

    def spying(message: Any, **options: Any) -> Any:
        if message.options.get("retries"):
            tried.set()
        return enqueue(message, **options)

    return spying


@pytest.mark.every_server
@on_two
def test_a_refusal_after_a_job_that_went_well_is_no_further_one_in_a_row(line: Line) -> None:
    """Each closes for twice as long: those of a year were in one row, where nothing but actors asks."""
    post = line.actor(lambda number: "sent" if number % 2 else throttled())
    line.start()
    for _ in range(2):
        message = post.send()
        wait_until(lambda: line.is_closed)
        assert line.state["strikes"] == "1"
        assert line.state["failing"].endswith(" 1 throttled")
        assert line.result(message) == "sent"
        wait_until(lambda: not {"strikes", "failing"} & line.state.keys())
    # As after a fetcher's, a part of the limit is left to others.
    assert line.state["learned:1000000"] != "0"


@on_two
def test_a_quota_that_is_used_up_has_a_job_wait(line: Line) -> None:
    def ask(number: int) -> str:
        if number:
            return "sent"
        raise UpstreamQuotaExhausted("reddit", "no credits", status=402)

    message = line.actor(ask, max_retries=0).send()
    line.start()
    wait_until(lambda: line.is_closed)
    assert line.limiter.get_status().reset_at > datetime.now(UTC) + timedelta(minutes=59)
    assert not line.has_result(message)


@on_two
def test_the_slot_of_a_job_that_was_refused_counts(line: Line) -> None:
    """Its request was sent; and that of a job whose actor has itself skipped may have been."""

    def skip(number: int) -> None:
        raise SkipMessage("not today")

    def used() -> set[Any]:
        """The slots that are committed."""
        client: Any = cast(Any, line.store).client
        now, micros = client.time()
        slots = client.zrange(line.store.keys.slots("reddit"), 0, -1, withscores=True)
        return {name for name, stamp in slots if stamp <= now * 1e6 + micros}

    message = line.actor(lambda number: throttled(seconds=60)).send()
    skipped = line.actor(skip, "skip").message()
    line.start()
    wait_until(lambda: len(used()) == 1)
    assert (line.retries(), line.has_result(message)) == ([0], False)
    if isinstance(line.broker, PacingBroker):
        before = used()
        line.limiter.reopen()
        line.broker.enqueue(skipped)
        wait_until(lambda: used() - before)


def test_a_refusal_while_redis_is_away_closes_the_source_for_all_once_it_is_back(
    settings: Settings, server: Server
) -> None:
    def refuse(number: int) -> str:
        if number:
            return "sent"
        server.freeze()
        return cast(str, throttled())

    with closing(Store(replace(settings, redis_timeout=0.25))) as store:
        line = Line(StubBroker(), RateLimiter(REDDIT, store))
        message = line.actor(refuse).send()
        line.start()
        try:
            wait_until(lambda: not store.is_available)
            wait_until(lambda: line.is_closed)
        finally:
            server.thaw()
        wait_until(lambda: "strikes" in line.state)
        assert (line.result(message), line.retries()) == ("sent", [0, 0])
        line.stop()


def test_a_refusal_without_redis_closes_the_source_in_its_process() -> None:
    with closing(Store(Settings.load({}))) as store:
        line = Line(StubBroker(), RateLimiter(REDDIT, store))
        message = line.actor(lambda number: "sent" if number else throttled(), max_retries=0).send()
        line.start()
        try:
            assert line.result(message) == "sent"
            assert line.retries() == [0, 0]
            assert line.ran[1][0] - line.ran[0][0] >= SECONDS - 0.01
        finally:
            line.stop()


@on_two
def test_an_actor_that_another_calls_is_a_part_of_its_job(line: Line) -> None:
    """What it meets is for who calls it to say."""
    inner = line.actor(lambda number: throttled(), "inner")

    def outer(number: int) -> str:
        try:
            return cast(str, inner())
        except UpstreamThrottled:
            return "sent"

    message = line.actor(outer).send()
    line.start()
    assert (line.result(message), line.is_closed) == ("sent", False)
