"""The repository: what is written once stays once, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy
from sqlalchemy.dialects import postgresql

from tbcache.models import Engagement, Item, SymbolSentiment
from tbcache.models.error import ConfigurationError, InvalidRequest, TbcacheError
from tbcache.repository import (
    Answer,
    AnswerRefused,
    CorruptAnswer,
    RepositoryUnavailable,
    SentimentRepository,
    decode_answer,
    encode_answer,
    engine,
    statement,
    table,
)
from tbcache.timeline import Read, Span
from tests.row import count_items
from tests.server import wait_until

ROOT = Path(__file__).parent.parent
NOW = datetime(2026, 3, 2, 14, 30, 0, 123456, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=365)


def sentiment(
    *, symbol: str = "AAPL", hours: int = 24, as_of: datetime = NOW, score: float | None = 0.25
) -> SymbolSentiment:
    return SymbolSentiment(
        source="twitter",
        symbol=symbol,
        hours=hours,
        score=score,
        count=3,
        bullish=2,
        bearish=1,
        neutral=0,
        as_of=as_of,
        complete=False,
        since=as_of - timedelta(hours=7),
        scorer="finance-vader/1",
        reason="page_budget",
        until=NOW,
    )


def item(name: str = "1", text: str = "up", at: datetime | None = NOW) -> Item:
    return Item(name, at, text, author="ann", label="bullish", weight=2.5)


def answer(*items: Item, as_of: datetime = NOW, symbol: str = "AAPL") -> Answer:
    return Answer(sentiment(as_of=as_of, symbol=symbol), tuple((each, 0.5) for each in items))


@pytest.fixture
def repository(database_url: str) -> Iterator[SentimentRepository]:
    """An empty repository."""
    made = SentimentRepository(database_url)
    yield made
    made.close()


def test_an_answer_is_read_as_it_was_written(repository: SentimentRepository) -> None:
    """History is only of use when it is exact, to the microsecond and the zone."""
    written = answer(item("1"), item("2", "déjà vu 🚀", at=None))
    repository.save([written])
    assert repository.latest("twitter", "aapl") == written.sentiment
    assert repository.history("twitter", "AAPL", since=NOW) == [written.sentiment]
    assert repository.items("twitter", "$AAPL", since=NOW) == [
        replace(item("1"), score=0.5, seen_at=NOW),
        replace(item("2", "déjà vu 🚀", at=None), score=0.5, seen_at=NOW),
    ]


def test_an_answer_that_is_one_bots_alone_is_not_read_as_everybodys(repository: SentimentRepository) -> None:
    """Its row also kept that of the fleet out, which is of the same moment. What it has read is for all."""
    mine = replace(answer(item("1")), is_private=True)
    repository.save([mine])
    assert repository.latest("twitter", "AAPL") is None
    fleets = replace(answer(), sentiment=replace(mine.sentiment, score=0.9))
    repository.save([mine, fleets])
    assert repository.latest("twitter", "AAPL") == fleets.sentiment
    assert count_items(repository) == 1


def test_times_come_back_in_utc_whatever_zone_they_had(repository: SentimentRepository) -> None:
    """SQLite keeps no zone; a time that lost it is hours wrong."""
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    repository.save([Answer(sentiment(as_of=tokyo), ((item(at=tokyo), None),))])
    latest = repository.latest("twitter", "AAPL")
    assert latest is not None
    assert (latest.as_of, latest.as_of.tzinfo) == (NOW, UTC)
    assert [found.at and found.at.tzinfo for found in repository.items("twitter", "AAPL", since=NOW)] == [UTC]


def test_a_time_without_a_zone_is_refused(repository: SentimentRepository) -> None:
    """Guessing one would write rows that are wrong for good."""
    with pytest.raises(AnswerRefused, match="has no zone"):
        repository.save([answer(item(at=NOW.replace(tzinfo=None)))])
    assert count_items(repository) == 0


def test_writing_an_answer_again_changes_nothing(repository: SentimentRepository) -> None:
    """The way to the database delivers at least once."""
    for _ in range(3):
        repository.save([answer(item("1"), item("2")), answer(item("1"))])
    assert count_items(repository) == 2
    assert len(repository.history("twitter", "AAPL", since=LONG_AGO)) == 1


def test_an_item_seen_again_is_brought_up_to_date(repository: SentimentRepository) -> None:
    """Posts are edited and labelled later; when each was first seen stays."""
    later = NOW + timedelta(minutes=5)
    repository.save([answer(item("1", "old"))])
    repository.save([answer(item("1", "new"), as_of=later)])
    assert [found.text for found in repository.items("twitter", "AAPL", since=LONG_AGO)] == ["new"]
    with repository._database.connect() as connection:
        row = connection.execute(sqlalchemy.select(table.items)).one()
    assert (row.first_seen_at, row.seen_at) == (NOW, later)


def test_what_else_an_item_says_is_written_too(repository: SentimentRepository) -> None:
    """Which items count as voices is decided by it, a year later as well."""
    known = replace(
        item("1"),
        kind="quote",
        url="https://x.com/i/status/1",
        lang="en",
        symbols=("AAPL", "MSFT"),
        engagement=Engagement(likes=4),
        origin="0",
        first_id="0",
        is_gone=True,
        seen_at=NOW,
    )
    repository.save([answer(known)])
    assert repository.items("twitter", "AAPL", since=NOW) == [replace(known, score=0.5)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_each_version_of_an_item_is_kept(repository: SentimentRepository, order: Sequence[int]) -> None:
    """What was known on Tuesday is a question for later; what waited in an outbox comes in any order."""
    texts = {minute: NOW + timedelta(minutes=minute) for minute in range(3)}
    for minute in order:
        repository.save([answer(item("1", f"version {minute}"), as_of=texts[minute])])
    # What says the same again is no version, however much it is liked meanwhile.
    liked = replace(item("1", "version 2"), engagement=Engagement(likes=9))
    repository.save([answer(liked, as_of=NOW + timedelta(minutes=5))])
    assert [found.text for found in repository.items("twitter", "AAPL", since=LONG_AGO)] == ["version 2"]
    with repository._database.connect() as connection:
        rows = connection.execute(sqlalchemy.select(table.versions).order_by(table.versions.c.seen_at)).all()
    assert [(row.text, row.seen_at) for row in rows] == [(f"version {n}", texts[n]) for n in (0, 1)]


def test_what_each_rule_took_out_is_kept_with_an_answer(repository: SentimentRepository) -> None:
    """Whoever asks later why a score was what it was finds which items did not count."""
    ruled = replace(sentiment(), voices=1.5, dropped={"copy": 1.0, "author": 0.5})
    repository.save([Answer(ruled)])
    assert repository.latest("twitter", "AAPL") == ruled
    repository.save([Answer(replace(sentiment(symbol="F"), voices=float("nan")))])
    assert (found := repository.latest("twitter", "F")) is not None
    assert (found.voices, found.dropped) == (None, {})


def test_what_was_read_is_written_once(repository: SentimentRepository) -> None:
    """Of which hours all was known is no guess, also later."""
    read = Read(Span(NOW - timedelta(hours=3), NOW), NOW)
    for _ in range(2):
        repository.save([replace(answer(), reads=(read,))])
    with repository._database.connect() as connection:
        (row,) = connection.execute(sqlalchemy.select(table.reads)).all()
    assert (row.start_at, row.end_at, row.read_at) == (*read.span, read.at)
    # It goes the way that the answer goes.
    assert decode_answer(encode_answer(replace(answer(), reads=(read,)))).reads == (read,)


def test_an_older_answer_that_comes_late_overwrites_nothing(repository: SentimentRepository) -> None:
    """A batch that waited out an outage in a file is written after newer ones."""
    repository.save([answer(item("1", "new"), as_of=NOW)])
    repository.save([answer(item("1", "old"), as_of=NOW - timedelta(hours=1))])
    assert [found.text for found in repository.items("twitter", "AAPL", since=LONG_AGO)] == ["new"]
    assert len(repository.history("twitter", "AAPL", since=LONG_AGO)) == 2


def test_one_post_of_two_symbols_is_two_items(repository: SentimentRepository) -> None:
    """A post about AAPL and MSFT belongs to the history of both."""
    repository.save([answer(item("1")), answer(item("1"), symbol="MSFT")])
    assert count_items(repository) == 2
    assert len(repository.items("twitter", "MSFT", since=LONG_AGO)) == 1
    assert repository.items("reddit", "MSFT", since=LONG_AGO) == []


def test_readings_are_newest_first_since_and_within_the_limit(repository: SentimentRepository) -> None:
    """A limit must cut off the old end."""
    moments = [NOW - timedelta(hours=hours) for hours in range(4)]
    repository.save([answer(item(str(n), at=at), as_of=at) for n, at in enumerate(moments)])
    history = repository.history("twitter", "AAPL", since=moments[2], limit=2)
    assert [found.as_of for found in history] == moments[:2]
    assert len(repository.history("twitter", "AAPL", since=moments[2])) == 3
    assert [found.at for found in repository.items("twitter", "AAPL", since=moments[2])] == moments[:3]
    assert [found.at for found in repository.items("twitter", "AAPL", since=LONG_AGO, limit=1)] == moments[:1]


def test_the_latest_answer_may_be_asked_for_by_hours(repository: SentimentRepository) -> None:
    """A day's sentiment is no week's."""
    day, week = sentiment(hours=24), sentiment(hours=168, as_of=NOW - timedelta(hours=1))
    repository.save([Answer(day), Answer(week)])
    assert repository.latest("twitter", "AAPL") == day
    assert repository.latest("twitter", "AAPL", 168) == week
    assert repository.latest("twitter", "AAPL", 1) is None
    with pytest.raises(InvalidRequest):
        repository.latest("twitter", "no ticker")


def test_texts_and_figures_that_databases_refuse_are_mended(repository: SentimentRepository) -> None:
    """One cut emoji or one NUL must not keep the rest of a page from being written."""
    odd = Item("i\0d", None, "a\0b\ud83d", author="x\ud800", weight=float("inf"))
    repository.save([Answer(sentiment(score=float("nan")), ((odd, float("nan")),))])
    assert repository.items("twitter", "AAPL", since=LONG_AGO) == [
        Item("id", None, "ab?", author="x?", score=None, weight=0.0, seen_at=NOW)
    ]
    latest = repository.latest("twitter", "AAPL")
    assert latest is not None
    assert latest.score is None


def test_a_batch_is_written_whole_or_not_at_all(repository: SentimentRepository) -> None:
    """A sentiment without its items, or the reverse, could not be told from the truth."""
    broken = answer(item("2"))
    broken = replace(broken, sentiment=replace(broken.sentiment, count=None))  # type: ignore[arg-type]
    with pytest.raises(AnswerRefused):
        repository.save([answer(item("1")), broken])
    assert count_items(repository) == 0
    assert repository.latest("twitter", "AAPL") is None


def test_many_writers_of_the_same_items_all_succeed(database_url: str) -> None:
    """A fleet starts at once, makes the tables at once and writes the same posts at once."""
    start = threading.Barrier(6)

    def write(worker: int) -> None:
        repository = SentimentRepository(database_url, busy_timeout=20)
        start.wait()
        for turn in range(5):
            order = range(20) if worker % 2 else range(19, -1, -1)
            repository.save([answer(*(item(str(n)) for n in order), as_of=NOW + timedelta(seconds=turn))])
        repository.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    repository = SentimentRepository(database_url)
    assert count_items(repository) == 20
    assert len(repository.history("twitter", "AAPL", since=LONG_AGO)) == 5
    repository.close()


def test_a_writer_that_begins_while_another_makes_the_tables_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself refuses to change the journal's mode then, at once and whatever its timeout."""
    tried = threading.Event()
    clock = SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=lambda seconds: tried.set())
    monkeypatch.setattr(engine, "time", clock)
    other = sqlite3.connect(tmp_path / "tbcache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE theirs (x)")
    repository = SentimentRepository(f"sqlite:///{tmp_path / 'tbcache.db'}", busy_timeout=20)
    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(repository.save, [answer(item("1"))])
        wait_until(lambda: tried.is_set() or saving.done())
        other.execute("COMMIT")
        other.close()
        saving.result(30)
    assert count_items(repository) == 1
    with repository._database.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    repository.close()


def test_tables_that_vanish_are_made_again(repository: SentimentRepository) -> None:
    """An operator who resets the database need not restart the fleet."""
    repository.save([answer(item("1"))])
    with repository._database.connect() as connection:
        table.metadata.drop_all(connection)
        connection.commit()
    with pytest.raises(RepositoryUnavailable):
        repository.save([answer(item("2"))])
    repository.save([answer(item("2"))])
    assert count_items(repository) == 1


def test_a_damaged_row_costs_none_of_the_others(tmp_path: Path) -> None:
    """SQLite keeps a value of any kind in any column: an error of whichever library would hide the symbol."""
    values = ("'banana'", "x'ff00ff'", "1e400")
    columns = {
        "sentiment_items": ("at", "seen_at", "weight", "facts"),
        "sentiment_snapshots": ("as_of", "score", "complete"),
    }
    damages = [(name, column, value) for name in columns for column in columns[name] for value in values]
    repository = SentimentRepository(f"sqlite:///{tmp_path}/db.sqlite3")
    later = NOW + timedelta(hours=1)
    both = ((item("1"), NOW), (item("2"), later))
    repository.save(
        [answer(one, as_of=at, symbol=f"S{number}") for number in range(len(damages)) for one, at in both]
    )
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as raw, raw:
        for number, (name, column, value) in enumerate(damages):
            newest = "external_id = '2'" if name == "sentiment_items" else "as_of > '2026-03-02 15'"
            where = f"symbol = 'S{number}' AND {newest}"
            statement = f"UPDATE {name} SET {column} = {value} WHERE {where}"  # noqa: S608 -- the test's own
            assert raw.execute(statement).rowcount == 1
    for number, damage in enumerate(damages):
        symbol, sound = f"S{number}", sentiment(symbol=f"S{number}")
        found = repository.items("twitter", symbol, since=LONG_AGO)
        assert "1" in [each.id for each in found], damage
        history = repository.history("twitter", symbol, since=LONG_AGO)
        assert sound in history, damage
        assert repository.latest("twitter", symbol) in (history[0], sound), damage
    repository.close()


def test_damaged_rows_are_said_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is left out silently is missed by nobody."""
    caplog.set_level(logging.WARNING, "tbcache")
    repository = SentimentRepository(f"sqlite:///{tmp_path}/db.sqlite3")
    repository.save([answer(item("1"), item("2"), item("3"))])
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as raw, raw:
        raw.execute("UPDATE sentiment_items SET label = '\x1b[2J' WHERE external_id > '1'")
        raw.execute("UPDATE sentiment_items SET author = CAST(x'ff41' AS TEXT) WHERE external_id = '1'")
    assert [each.author for each in repository.items("twitter", "AAPL", since=LONG_AGO)] == ["\ufffdA"]
    repository.close()
    assert [one.msg for one in caplog.records].count("row.damaged") == 1
    assert "\x1b" not in caplog.text


def test_making_a_repository_opens_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    """Every process builds one, and most of them never write."""
    file = tmp_path / "data" / "tbcache.db"
    repository = SentimentRepository(f"sqlite:///{file}")
    assert not file.parent.exists()
    assert count_items(repository) == 0
    assert file.exists()


def test_sqlite_lets_readers_read_while_one_writes(tmp_path: Path) -> None:
    """In the default mode a reader would be refused while a batch is written."""
    file = tmp_path / "tbcache.db"
    repository = SentimentRepository(f"sqlite:///{file}", busy_timeout=0.05)
    repository.save([answer(item("1"))])
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert count_items(repository) == 1
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        with pytest.raises(RepositoryUnavailable, match="locked"):
            repository.save([answer(item("2"))])
        other.execute("ROLLBACK")
    other.close()
    repository.save([answer(item("2"))])
    assert count_items(repository) == 2


def test_a_database_that_is_not_there_is_unavailable_and_says_where(tmp_path: Path) -> None:
    """The message is what an operator has at three in the morning; the password is not for logs."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RepositoryUnavailable, match=r"file/tbcache\.db"):
        count_items(SentimentRepository(f"sqlite:///{tmp_path}/file/tbcache.db"))
    down = SentimentRepository("postgresql://bot:s3cret@127.0.0.1:1/db", busy_timeout=1)
    with pytest.raises(RepositoryUnavailable) as caught:
        down.save([answer(item())])
    assert "127.0.0.1:1" in str(caught.value)
    assert "TBCACHE_DATABASE_URL" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("not a url s3cret", "no database URL"),
        ("", "no database URL"),
        ("postgresql://bot:s3cret@host:port/db", "no database URL"),
        ("mysql://bot:s3cret@host/db", "mysql, which is not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_a_wrong_url_names_the_variable_and_never_the_password(url: str, hint: str) -> None:
    """The line goes to terminals and logs."""
    with pytest.raises(ConfigurationError) as caught:
        SentimentRepository(url)
    assert hint in str(caught.value)
    assert "TBCACHE_DATABASE_URL" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's driver is an extra."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'tbcache\[postgres\]'"):
        SentimentRepository("postgres://bot@host/db")


def test_postgresql_gets_an_upsert_of_its_own_dialect() -> None:
    """What runs where a server is installed must at least compile where none is."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    upsert = str(statement.upsert_items("postgresql").compile(dialect=dialect))
    assert "ON CONFLICT (source, external_id, symbol) DO UPDATE SET at = excluded.at" in upsert
    assert "WHERE sentiment_items.seen_at <= excluded.seen_at" in upsert
    assert "first_seen_at = " not in upsert
    once = statement.insert_once("postgresql", table.snapshots).compile(dialect=dialect)
    assert "ON CONFLICT DO NOTHING" in str(once)
    created = str(sqlalchemy.schema.CreateTable(table.items).compile(dialect=dialect))
    assert "at TIMESTAMP WITH TIME ZONE" in created


def test_an_answer_survives_the_way_as_bytes() -> None:
    """Accepted rows travel through a stream and files before they are written."""
    whole = answer(item("1", "line\nbreak 🚀"), item("2", at=None))
    data = encode_answer(whole)
    assert b"\n" not in data
    assert decode_answer(data) == whole
    odd = answer(Item("1", None, "cut \ud83d", weight=float("nan")))
    assert decode_answer(encode_answer(odd)).items[0][0] == Item("1", None, "cut ?", weight=0.0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"{}",
        encode_answer(answer(item()))[:-9],
        encode_answer(answer(item())).replace(b'"twitter"', b"7"),
        encode_answer(answer(item())).replace(b"123456Z", b"123456"),
    ],
)
def test_bytes_that_are_no_answer_are_said_to_be_none(data: bytes) -> None:
    """A consumer of the stream puts them aside instead of dying on them."""
    with pytest.raises(CorruptAnswer) as caught:
        decode_answer(data)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TbcacheError)


def test_importing_the_repository_does_not_import_sqlalchemy() -> None:
    """A bot that never writes should not wait a quarter of a second for it."""
    code = (
        "import sys, tbcache.repository as r; assert 'sqlalchemy' not in sys.modules; "
        "r.SentimentRepository; assert 'sqlalchemy' in sys.modules; "
        "assert not hasattr(r, 'Sentiment')"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT, timeout=60)
