"""The outbox: what Redis holds for the database gets there, and what can never get there stops nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
import sqlalchemy

from tbcache.fetch.outbox import Outbox
from tbcache.io import utc_now
from tbcache.models import Item, SymbolSentiment
from tbcache.repository import Answer, SentimentRepository, Writer, encode_answer, reject
from tbcache.repository.prune import Pruner
from tbcache.repository.reject import Rejects
from tbcache.store import Store
from tbcache.timeline import Load
from tests.row import count_items
from tests.server import wait_until
from tests.test_repository import LONG_AGO, NOW, answer, item, sentiment

SOURCE = "twitter"
FAR_WEST, FAR_EAST = timezone(timedelta(hours=-23)), timezone(timedelta(hours=23))


@pytest.fixture
def spill(tmp_path: Path) -> Path:
    return tmp_path / "spill"


@pytest.fixture
def repository(database_url: str) -> Iterator[SentimentRepository]:
    made = SentimentRepository(database_url, busy_timeout=1)
    yield made
    made.close()


@pytest.fixture
def outbox(store: Store, repository: SentimentRepository, spill: Path) -> Iterator[Outbox]:
    made = Outbox(store, [SOURCE], repository, Writer(repository, spill=spill), Pruner(repository, 0))
    yield made
    made.close()


@pytest.fixture
def accept(store: Store) -> Callable[..., None]:
    """Put answers, or bytes that are none, into the outbox as settle does."""

    def put(*answers: Answer | bytes) -> None:
        key = store.keys.outbox(SOURCE)
        for each in answers:
            store.client.xadd(key, {"answer": each if isinstance(each, bytes) else encode_answer(each)})
        store.client.expire(key, 60)

    return put


def with_sentiment(name: str, **fields: object) -> Answer:
    made: SymbolSentiment = replace(sentiment(), **fields)  # type: ignore[arg-type]
    return Answer(made, ((item(name), 0.5),))


NASTY = {
    "hours": with_sentiment("hours", hours=2**70),
    "int64": with_sentiment("int64", hours=2**63),
    "count": with_sentiment("count", hours=2, count=2**100),
    "nan": with_sentiment("nan", hours=3, score=float("nan")),
    "end": with_sentiment("end", as_of=datetime.max.replace(tzinfo=UTC)),
    "west": with_sentiment("west", as_of=datetime.max.replace(tzinfo=FAR_WEST)),
    "early": with_sentiment("early", since=datetime.min.replace(tzinfo=FAR_EAST)),
    "symbol": with_sentiment("symbol", symbol="\0" * 40),
    "source": with_sentiment("source", source="s" * 500),
    "scorer": with_sentiment("scorer", hours=4, scorer="a\0b\ud83d", reason="\udc00"),
    "surrogate": with_sentiment("surrogate", symbol="\ud83d"),
    "large": answer(item("large", "x" * 10_000_000)),
    # PostgreSQL has no index for a key of more than 2,704 bytes that do not compress.
    "key": answer(item("key" + os.urandom(4000).hex())),
    "item": answer(Item("item\0\ud83d", datetime.max.replace(tzinfo=FAR_WEST), "a\0b", weight=float("nan"))),
}


def names(repository: SentimentRepository) -> set[str]:
    with repository._database.connect() as connection:
        return {
            row[0] for row in connection.execute(sqlalchemy.text("SELECT external_id FROM sentiment_items"))
        }


def rejected(spill: Path) -> list[str]:
    """The reasons of what was put aside."""
    heads = [file.read_bytes().split(b"\n")[0] for file in spill.glob("*.rejected")]
    return [msgspec.json.decode(head)["reason"] for head in heads]


def kept(spill: Path, name: str) -> bool:
    return any(f'"id":"{name}'.encode() in file.read_bytes() for file in spill.glob("*.rejected"))


def test_an_answer_that_no_database_takes_stops_no_other(
    outbox: Outbox,
    accept: Callable[..., None],
    repository: SentimentRepository,
    store: Store,
    spill: Path,
) -> None:
    """One odd answer of one upstream must not stop the writing of all; it is found with its reason."""
    good = [str(number) for number in range(len(NASTY) + 1)]
    for name, nasty in zip(good, NASTY.values(), strict=False):
        accept(answer(item(name)), nasty)
    accept(answer(item(good[-1])), b"\xff no answer", b"")
    outbox.nudge()
    wait_until(lambda: not store.client.xlen(store.keys.outbox(SOURCE)), 20)
    assert outbox._thread.is_running
    assert not outbox._thread.is_dead
    written = names(repository)
    assert written >= set(good)
    for name in NASTY:
        assert kept(spill, name) != any(found.startswith(name) for found in written), name
    assert kept(spill, "hours")
    assert all(rejected(spill))
    assert any(reason.startswith("CorruptAnswer") for reason in rejected(spill))


def test_what_an_overtaken_load_has_read_is_kept_and_the_load_is_none_of_the_past(
    outbox: Outbox, repository: SentimentRepository, store: Store
) -> None:
    """It is paid for; but no bot was told what that load has made of it."""
    for name, fields in (("told", {}), ("lost", {"overtaken": 1})):
        read_at = NOW + timedelta(seconds=len(fields))
        load = Load(read_at, read_at, NOW, 24, "any/1", tally={1983600: 4})
        data = encode_answer(replace(answer(item(name)), load=load))
        store.client.xadd(store.keys.outbox(SOURCE), {"answer": data} | fields)
    store.client.expire(store.keys.outbox(SOURCE), 60)
    assert outbox.drain() == 2
    assert names(repository) == {"told", "lost"}
    found = repository.loads(SOURCE, answer().sentiment.symbol, NOW, NOW + timedelta(seconds=2))
    assert [load.read_at for load in found] == [NOW]


def test_a_load_counts_from_when_its_answer_was_stored(
    outbox: Outbox, repository: SentimentRepository, store: Store
) -> None:
    """Between its score and its answer lie seconds in which a backtest was told what no bot had."""
    load = Load(NOW, NOW, NOW, 24, "any/1")
    entry = store.client.xadd(
        store.keys.outbox(SOURCE), {"answer": encode_answer(replace(answer(item()), load=load))}
    )
    store.client.expire(store.keys.outbox(SOURCE), 60)
    assert outbox.drain() == 1
    (found,) = repository.loads(SOURCE, answer().sentiment.symbol, NOW, NOW)
    stored_at = datetime.fromtimestamp(int(entry.split(b"-")[0]) / 1000, UTC)
    assert timedelta(0) < found.counts_from - stored_at <= timedelta(milliseconds=1.1)


def test_a_load_is_stored_by_when_it_is_read_though_the_servers_clock_was_ahead(
    outbox: Outbox, repository: SentimentRepository, store: Store
) -> None:
    """The ids of a stream never go back: the past told of no load for as long as the clock had been ahead."""
    data = encode_answer(replace(answer(item()), load=Load(NOW, NOW, NOW, 24, "any/1")))
    ahead = int(utc_now().timestamp() + 3600) * 1000
    store.client.xadd(store.keys.outbox(SOURCE), {"answer": data}, id=f"{ahead}-0")
    assert store.client.xadd(store.keys.outbox(SOURCE), {"answer": data}) == f"{ahead}-1".encode()
    store.client.expire(store.keys.outbox(SOURCE), 60)
    assert outbox.drain() == 2
    (found,) = repository.loads(SOURCE, answer().sentiment.symbol, NOW, NOW)
    assert abs(found.counts_from - utc_now()) < timedelta(minutes=5)


def test_an_id_that_is_no_time_stops_no_outbox(outbox: Outbox, store: Store) -> None:
    """All entries after it have ids as late."""
    data = encode_answer(replace(answer(item()), load=Load(NOW, NOW, NOW, 24, "any/1")))
    store.client.xadd(store.keys.outbox(SOURCE), {"answer": data}, id=f"{2**64 - 1}-1")
    store.client.expire(store.keys.outbox(SOURCE), 60)
    assert outbox.drain() == 1


def test_answers_wait_for_a_database_that_is_merely_away(
    outbox: Outbox,
    accept: Callable[..., None],
    repository: SentimentRepository,
    store: Store,
    spill: Path,
) -> None:
    """What a missing permission, table or column refuses is sound: it is written when that is mended."""
    count_items(repository)
    with repository._database.connect() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE sentiment_items RENAME COLUMN author TO writer"))
        connection.commit()
    accept(answer(item("1")), answer(item("2")))
    assert outbox._try_drain()
    assert (store.client.xlen(store.keys.outbox(SOURCE)), rejected(spill)) == (2, [])
    with repository._database.connect() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE sentiment_items RENAME COLUMN writer TO author"))
        connection.commit()
    assert outbox.drain() == 2
    assert names(repository) == {"1", "2"}


def test_a_locked_database_refuses_no_answer(
    accept: Callable[..., None], store: Store, tmp_path: Path, spill: Path
) -> None:
    """A backup that holds the lock for minutes must not send everything aside."""
    repository = SentimentRepository(f"sqlite:///{tmp_path}/tbcache.db", busy_timeout=0.05)
    outbox = Outbox(store, [SOURCE], repository, Writer(repository, spill=spill), Pruner(repository, 0))
    count_items(repository)
    accept(with_sentiment("bad", hours=2**70), answer(item("good")))
    with sqlite3.connect(tmp_path / "tbcache.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert outbox._try_drain()
        assert (store.client.xlen(store.keys.outbox(SOURCE)), rejected(spill)) == (2, [])
        other.execute("ROLLBACK")
    other.close()
    assert outbox.drain() == 2
    assert names(repository) == {"good"}
    outbox.close()


def test_what_cannot_be_put_aside_stays_in_redis_and_stops_no_other(
    outbox: Outbox,
    accept: Callable[..., None],
    repository: SentimentRepository,
    store: Store,
    spill: Path,
) -> None:
    """A worker may run on a disk it cannot write to; another has one it can."""
    spill.write_text("a file where the folder should be")
    accept(with_sentiment("bad", hours=2**70), b"none", *(answer(item(str(n))) for n in range(150)))
    assert outbox.drain() == 150
    assert len(names(repository)) == 150
    assert store.client.xlen(store.keys.outbox(SOURCE)) == 2
    spill.unlink()
    assert outbox.drain() == 2
    assert len(rejected(spill)) == 2


def test_what_is_put_aside_is_bounded(spill: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that sends nothing else must not fill the disk."""
    monkeypatch.setattr(reject, "MOST_FILES", 3)
    rejects = Rejects(spill)
    for age, name in enumerate(("old", "b", "c", "d")):
        assert rejects.put(answer(item(name)), ValueError("no"))
        for file in spill.glob("*.rejected"):
            os.utime(file, (file.stat().st_mtime - 10, file.stat().st_mtime - 10))
        assert len(rejected(spill)) == min(age + 1, 3)
    assert not kept(spill, "old")
    rejects.put(answer(item("d")), ValueError("no"))
    assert len(rejected(spill)) == 3, "the same answer is kept once"
    monkeypatch.setattr(reject, "MOST_BYTES", 100)
    rejects.put(answer(item("e")), ValueError("no"))
    assert (len(rejected(spill)), kept(spill, "e")) == (1, True)
    monkeypatch.setattr(reject, "KEPT_SECONDS", -1.0)
    rejects.put(answer(item("f")), ValueError("no"))
    assert (len(rejected(spill)), kept(spill, "f")) == (1, True)


def test_what_another_process_removes_meanwhile_is_no_failure(spill: Path) -> None:
    """The answer is put aside by then, and would be so again with every try."""
    spill.mkdir(mode=0o700, exist_ok=True)
    (spill / "gone.rejected").symlink_to(spill / "nowhere")
    assert Rejects(spill).put(answer(item("a")), ValueError("no"))


def test_history_is_read_beside_what_was_put_aside(repository: SentimentRepository) -> None:
    """Texts that no database takes are mended where they are no keys."""
    repository.save([NASTY["scorer"]])
    (found,) = repository.history(SOURCE, "AAPL", since=LONG_AGO)
    assert (found.scorer, found.reason, found.as_of) == ("ab?", "?", NOW)


def test_a_damaged_outbox_of_one_source_holds_up_no_other(
    outbox: Outbox, store: Store, accept: Callable[..., None], repository: SentimentRepository
) -> None:
    """A key of another type is one source's trouble."""
    damaged = store.keys.outbox("news")
    store.client.set(damaged, "no stream", ex=60)
    outbox._sources.insert(0, "news")
    accept(answer(item("1")))
    assert outbox.drain() == 1
    assert names(repository) == {"1"}
