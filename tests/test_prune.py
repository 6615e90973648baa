"""Pruning: what is too old goes, in small steps, by one process at a time, and holds nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from tbcache.fetch.outbox import Outbox
from tbcache.io import utc_now
from tbcache.models.error import ConfigurationError
from tbcache.repository import Answer, SentimentRepository, Writer, prune
from tbcache.repository.prune import Pruner
from tbcache.settings import Settings
from tbcache.store import Store
from tests.server import wait_until
from tests.test_repository import LONG_AGO, answer, item

DAY = timedelta(days=1)


@pytest.fixture
def repository(database_url: str) -> Iterator[SentimentRepository]:
    made = SentimentRepository(database_url)
    yield made
    made.close()


@pytest.fixture
def pruner_for(
    repository: SentimentRepository, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], Pruner]]:
    """Pruners that do not rest between two steps."""
    monkeypatch.setattr(prune, "PAUSE_SECONDS", 0.001)
    made: list[Pruner] = []

    def build(keep_days: int) -> Pruner:
        made.append(Pruner(repository, keep_days))
        return made[-1]

    yield build
    for pruner in made:
        pruner.stop()


def aged(days: float, *names: str) -> Answer:
    """An answer of so many days ago, with items that claim to be newer and older than it."""
    as_of = utc_now() - days * DAY
    return answer(
        *(item(name, at=as_of + DAY * (500 if n % 2 else -500)) for n, name in enumerate(names)), as_of=as_of
    )


def left(repository: SentimentRepository) -> tuple[set[str], int]:
    """The items, and the number of answers."""
    with repository._database.connect() as connection:
        found = connection.execute(sqlalchemy.text("SELECT external_id FROM sentiment_items")).all()
    history = repository.history("twitter", "AAPL", since=LONG_AGO - 2000 * DAY, limit=10**6)
    return {row[0] for row in found}, len(history)


def test_what_is_too_old_goes_and_the_rest_stays(
    repository: SentimentRepository, pruner_for: Callable[[int], Pruner]
) -> None:
    """Without it the database grows for ever; with a mistake in it, history is lost."""
    repository.save([aged(9.9, "a", "b"), aged(10.1, "c", "d"), aged(400, "e"), aged(0, "f")])
    # Seen again since, and yet first seen too long ago; what it was then is a version of its own.
    repository.save([aged(1, "c")])
    assert pruner_for(10).prune() == 3 + 1 + 2
    assert left(repository) == ({"a", "b", "f"}, 3)


def test_pruning_goes_in_small_transactions(
    repository: SentimentRepository, pruner_for: Callable[[int], Pruner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One statement that deletes a month would lock the database for as long as that takes."""
    monkeypatch.setattr(prune, "BATCH", 20)
    repository.save([aged(20 + n, *(f"{n}.{m}" for m in range(10))) for n in range(9)])
    removed: list[list[int]] = []

    @sqlalchemy.event.listens_for(repository._database.engine, "after_cursor_execute")
    def count(_connection: Any, cursor: Any, statement: str, *_rest: object) -> None:
        if statement.startswith("DELETE"):
            removed[-1].append(cursor.rowcount)

    @sqlalchemy.event.listens_for(repository._database.engine, "begin")
    def begin(_connection: Any) -> None:
        removed.append([])

    assert pruner_for(10).prune() == 99
    assert [rows for rows in removed if rows] == [
        [20, 9, 0, 0, 0, 0],
        *[[20, 0, 0, 0, 0, 0]] * 3,
        [10, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_one_process_at_a_time_prunes(
    repository: SentimentRepository, pruner_for: Callable[[int], Pruner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet of fifty need not look for the same rows; where the one dies, another goes on."""
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    repository.save([aged(20, "a")])
    turn = repository.take_turn(prune.LEASE_SECONDS, prune.REST_SECONDS)
    assert turn is not None
    assert pruner_for(10).prune() == 0
    now[0] += prune.LEASE_SECONDS + 1
    assert pruner_for(10).prune() == 2
    assert repository.extend_turn(turn, 60) is None
    repository.save([aged(20, "b")])
    assert pruner_for(10).prune() == 0, "all was gone a moment ago"
    now[0] -= 60
    assert pruner_for(10).prune() == 0, "so it was for one whose clock is a little behind"
    now[0] += prune.REST_SECONDS + 61
    assert pruner_for(10).prune() == 2
    now[0] -= 10 * prune.REST_SECONDS
    repository.save([aged(20, "c")])
    assert pruner_for(10).prune() == 2, "a clock was wrong"


def test_a_writer_waits_for_one_step_at_most(
    repository: SentimentRepository, pruner_for: Callable[[int], Pruner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers go on being written while a year of them is removed."""
    for day in range(3):
        repository.save([aged(20 + day, *(f"{day}.{n}" for n in range(prune.BATCH)))])
    pruner, there = pruner_for(10), list[int]()

    def write(_: float) -> None:
        # By another connection, which sees what is gone: no step holds anything back once it is over.
        repository.save([aged(0, f"new{len(there)}")])
        there.append(len(left(repository)[0]))

    monkeypatch.setattr(pruner._thread, "pause", write)
    pruner.prune()
    assert there == [2 * prune.BATCH + 1, prune.BATCH + 2, 3]


def test_pruning_that_was_broken_off_goes_on(
    repository: SentimentRepository, pruner_for: Callable[[int], Pruner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is stopped in the middle has done what it has done."""
    monkeypatch.setattr(prune, "BATCH", 1)
    repository.save([aged(20, "a", "b", "c")])
    pruner = pruner_for(10)
    monkeypatch.setattr(pruner._thread, "pause", lambda seconds: pruner.stop())
    assert pruner.prune() == 2
    monkeypatch.setattr(prune, "LEASE_SECONDS", 0)
    with repository._database.connect() as connection:
        connection.execute(sqlalchemy.text("UPDATE tbcache_schema SET prune_at = 0"))
        connection.commit()
    assert pruner_for(10).prune() == 2
    assert left(repository) == (set(), 0)


def test_every_process_that_writes_prunes(
    repository: SentimentRepository, pruner_for: Callable[[int], Pruner], store: Store, tmp_path: Path
) -> None:
    """Also a lone bot, with or without Redis: there may be no worker and no scheduler."""
    repository.save([aged(20, "old")])
    outbox = Outbox(store, [], repository, Writer(repository, spill=tmp_path / "spill"), pruner_for(10))
    outbox.accept(aged(1, "new"))
    wait_until(lambda: left(repository) == ({"new"}, 1))
    outbox.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "tbcache-prune"]


def test_zero_days_keep_everything(
    repository: SentimentRepository, pruner_for: Callable[[int], Pruner]
) -> None:
    """Who backtests wants all there ever was."""
    assert Settings.load({}).keep_days == 90
    assert Settings.load({"TBCACHE_KEEP_DAYS": "0"}).keep_days == 0
    pruner = pruner_for(0)
    pruner.start()
    assert not pruner._thread.is_running


@pytest.mark.parametrize("value", ["-1", "soon", "1.5", "99999999"])
def test_days_that_are_none_are_refused_in_one_line(value: str) -> None:
    """A typo must not delete a history."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({"TBCACHE_KEEP_DAYS": value})
    assert str(caught.value).startswith(f"TBCACHE_KEEP_DAYS='{value}' is not valid: ")
    assert "\n" not in str(caught.value)


def test_the_thread_outlives_an_outage(
    pruner_for: Callable[[int], Pruner], repository: SentimentRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the only one of its process: it must see the next hour."""
    monkeypatch.setattr(prune, "LOOK_SECONDS", 0.001)
    tries = []

    def fail(*_: object, **__: object) -> None:
        tries.append(1)
        raise MemoryError

    monkeypatch.setattr(repository, "take_turn", fail)
    pruner = pruner_for(10)
    pruner.start()
    wait_until(lambda: len(tries) > 2)
    assert pruner._thread.is_running
    assert not pruner._thread.is_dead
