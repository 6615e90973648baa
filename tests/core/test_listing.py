"""The jobs of a queue: which there are, whose they are, and when each will start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dramatiq
import pytest

from tbcache.fleet import Fleet, JobFilter
from tbcache.io import utc_now
from tbcache.models import FetchRequest
from tbcache.models.error import UnknownSource
from tbcache.queue import PacingBroker, Queue, listing
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store
from tests.core.test_queue import Worker
from tests.server import wait_until

NEWS = replace(BUILT_IN["news"], missing=())


def test_an_id_may_have_any_character(settings: Settings, store: Store) -> None:
    """One with a slash passed for another, that waits: a filter that means what waits stopped what ran."""
    broker, fleet = PacingBroker(store, settings, []), Fleet(settings, store)
    dramatiq.actor(broker=broker, actor_name="work")(print)
    for job_id in ("run/1", "wait/1"):
        broker.enqueue(dramatiq.Message("default", "work", (), {}, {}, message_id=job_id))
    broker.threads.open(1)
    consumer: Any = broker.consume("default", timeout=1)
    wait_until(lambda: next(consumer))
    assert {one.job_id: one.state for one in fleet.jobs("default")} == {
        "run/1": "running",
        "wait/1": "waiting",
    }
    assert fleet.as_operator("ada").cancel_jobs("default") == 1
    assert [one.job_id for one in fleet.jobs("default")] == ["run/1"]


def test_jobs_are_listed_in_the_order_in_which_they_start(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks why a symbol is not there must find its job wherever it is, among any number of others."""
    monkeypatch.setattr(listing, "PAGE", 2)
    queue, fleet = Queue(store, settings), Fleet(settings, store)
    running = queue.enqueue(FetchRequest("news", "RUNS"), caller="desk/bot-1")
    Worker(store, settings, NEWS, threads=1).await_job()
    queue.enqueue(FetchRequest("news", "RUNS"), fresh_after=utc_now())
    queue.enqueue(FetchRequest("news", "WARM"), "prewarm")
    queue.enqueue(FetchRequest("news", "LATER"), delay_seconds=50.0)
    for symbol in ("AAPL", "GME"):
        queue.enqueue(FetchRequest("news", symbol), caller="desk/bot-2")

    found = fleet.jobs("news")
    assert [(one.symbol, one.state, one.lane, one.place) for one in found] == [
        ("RUNS", "running", "interactive", None),
        ("AAPL", "waiting", "interactive", 1),
        ("GME", "waiting", "interactive", 2),
        ("WARM", "waiting", "prewarm", 1),
        ("LATER", "delayed", "interactive", None),
        ("RUNS", "follows", "interactive", None),
    ]
    assert (found[0].job_id, found[0].caller) == (running.job_id, "desk/bot-1")
    assert all(one.queued_at is not None for one in found)
    assert [one.symbol for one in found if one.starts_at is not None] == ["RUNS", "LATER"]
    assert [one.symbol for one in fleet.jobs("news", most=2)] == ["RUNS", "AAPL"]

    def symbols(**where: str) -> list[str | None]:
        return [one.symbol for one in fleet.jobs(None, JobFilter(**where))]  # type: ignore[arg-type]

    assert symbols(caller="desk") == ["RUNS", "AAPL", "GME"]
    assert symbols(caller="desk/bot-2", symbol="gme") == ["GME"]
    assert symbols(caller="des") == []
    assert symbols(job_id=running.job_id) == ["RUNS"]
    assert symbols(job_id="no such job") == []
    for state, those in (("delayed", ["LATER"]), ("follows", ["RUNS"]), ("running", ["RUNS"])):
        assert symbols(state=state) == those
    assert symbols(job_id=running.job_id, state="waiting") == []
    # Of a job that was cancelled while a worker had it in hand, its claim alone is left.
    store.client.zadd(store.keys.queue("news", "claims"), {"over/bot-1/!": 9e15})
    assert symbols(state="follows") == ["RUNS"]
    assert len(fleet.jobs("news")) == 6


def test_a_queue_that_is_none_and_a_message_that_is_damaged(settings: Settings, store: Store) -> None:
    """A typo is no empty queue, and what others wrote into Redis stops no list."""
    fleet, key = Fleet(settings, store), store.keys.queue("news", "jobs")
    with pytest.raises(UnknownSource, match="did you mean 'news'"):
        fleet.jobs("nws")
    handle = Queue(store, settings).enqueue(FetchRequest("news", "AAPL"))
    for text in ("{", '{"message_timestamp": 999999999999999999, "kwargs": {"symbol": "A\\u001b"}}', "[]"):
        store.client.hset(key, handle.job_id, text)
        (job,) = fleet.jobs("news")
        assert (job.state, job.queued_at) == ("waiting", None)
        assert job.symbol in (None, "A?")
