"""The schema: the database of an earlier tbcache is brought up with all its rows, a later one's is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from sqlite3 import SQLITE_CREATE_TABLE, SQLITE_DENY, SQLITE_OK
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import event, inspect, make_url, text

from tbcache import __version__
from tbcache.fetch.hour import HourWriter
from tbcache.io.log import REPEATED
from tbcache.repository import RepositoryUnavailable, SentimentRepository
from tbcache.repository.schema import VERSION
from tests.row import count_items
from tests.test_repository import LONG_AGO, NOW, answer, item, sentiment

#: What tbcache 0.1.0 made, to the letter; {moment} is what each dialect keeps a time in.
TABLES_OF_0_1_0 = """
CREATE TABLE sentiment_items (
    source VARCHAR(64) NOT NULL,
    external_id TEXT NOT NULL,
    symbol VARCHAR(15) NOT NULL,
    at {moment},
    author TEXT,
    text TEXT NOT NULL,
    label VARCHAR(8),
    score {real},
    weight {real} NOT NULL,
    first_seen_at {moment} NOT NULL,
    seen_at {moment} NOT NULL,
    PRIMARY KEY (source, external_id, symbol)
);
CREATE INDEX ix_sentiment_items_symbol_at ON sentiment_items (source, symbol, at);
CREATE TABLE sentiment_snapshots (
    source VARCHAR(64) NOT NULL,
    symbol VARCHAR(15) NOT NULL,
    hours INTEGER NOT NULL,
    as_of {moment} NOT NULL,
    score {real},
    count INTEGER NOT NULL,
    bullish INTEGER NOT NULL,
    bearish INTEGER NOT NULL,
    neutral INTEGER NOT NULL,
    complete BOOLEAN NOT NULL,
    since {moment},
    scorer TEXT NOT NULL,
    reason TEXT,
    PRIMARY KEY (source, symbol, hours, as_of)
);
CREATE INDEX ix_sentiment_snapshots_as_of ON sentiment_snapshots (source, symbol, as_of);
INSERT INTO sentiment_items VALUES ('twitter', '1', 'AAPL', '2026-03-02 14:30:00.123456{zone}', 'ann', 'up',
    'bullish', 0.5, 2.5, '2026-03-02 14:30:00.123456{zone}', '2026-03-02 14:30:00.123456{zone}');
INSERT INTO sentiment_items VALUES ('twitter', '2', 'AAPL', NULL, NULL, 'down', NULL, NULL, 0.0,
    '2026-03-02 14:30:00.123456{zone}', '2026-03-02 14:30:00.123456{zone}');
INSERT INTO sentiment_snapshots VALUES ('twitter', 'AAPL', 24, '2026-03-02 14:30:00.123456{zone}', 0.25,
    3, 2, 1, 0, {false}, '2026-03-02 07:30:00.123456{zone}', 'finance-vader/1', 'page_budget');
"""
DIALECTS = {
    "sqlite": {"moment": "DATETIME", "real": "FLOAT", "zone": "", "false": "0"},
    "postgresql": {
        "moment": "TIMESTAMP WITH TIME ZONE",
        "real": "FLOAT(53)",
        "zone": "+00",
        "false": "false",
    },
}


@pytest.fixture
def repository(database_url: str) -> Iterator[SentimentRepository]:
    made = SentimentRepository(database_url, busy_timeout=20)
    if made._database.file is not None:
        made._database.file.parent.mkdir()
    yield made
    made.close()


@pytest.fixture
def old(repository: SentimentRepository) -> SentimentRepository:
    """A repository whose database tbcache 0.1.0 has made and filled."""
    script = TABLES_OF_0_1_0.format(**DIALECTS[repository.dialect])
    with repository._database.engine.connect() as connection:
        for statement in filter(str.strip, script.split(";")):
            connection.exec_driver_sql(statement)
        connection.commit()
    return repository


def run(repository: SentimentRepository, statement: str) -> Any:
    """The rows of ``statement``, past all that the repository does itself."""
    with repository._database.engine.connect() as connection:
        result = connection.execute(text(statement))
        rows = result.all() if result.returns_rows else []
        connection.commit()
        return rows


def shape(repository: SentimentRepository) -> dict[str, Any]:
    """The tables with their columns, keys and indexes."""
    tables = inspect(repository._database.engine)
    return {
        name: (
            [
                (column["name"], str(column["type"]), column["nullable"])
                for column in tables.get_columns(name)
            ],
            tables.get_pk_constraint(name)["constrained_columns"],
            sorted((index["name"], tuple(index["column_names"])) for index in tables.get_indexes(name)),
        )
        for name in sorted(tables.get_table_names())
    }


def test_a_database_of_the_first_version_is_brought_up_with_all_its_rows(old: SentimentRepository) -> None:
    """Nobody who upgrades should have to export and import a history."""
    assert old.latest("twitter", "AAPL") == replace(sentiment(), until=None)
    first, second = old.items("twitter", "AAPL", since=LONG_AGO)
    assert (first.id, first.at, first.author, first.label, first.score, first.weight) == (
        *("1", NOW, "ann"),
        *("bullish", 0.5, 2.5),
    )
    assert (second.id, second.at, second.author, second.weight) == ("2", None, None, 0.0)
    assert run(old, "SELECT version, written_by FROM tbcache_schema") == [(VERSION, __version__)]
    old.save([answer(item("1", "edited"), item("3"))])
    assert count_items(old) == 3


def test_what_was_brought_up_is_what_is_made_anew(
    old: SentimentRepository, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    """Two kinds of database of one version would fail in two ways."""
    count_items(old)
    if old.dialect == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('new')}/new.db"
    else:
        url = request.getfixturevalue("_postgres").new_database()
    new = SentimentRepository(url)
    count_items(new)
    assert shape(old) == shape(new)
    assert run(old, "SELECT * FROM tbcache_schema") == run(new, "SELECT * FROM tbcache_schema")
    new.close()


def test_a_fleet_that_starts_at_once_brings_a_database_up_once(
    old: SentimentRepository, database_url: str
) -> None:
    """An upgrade restarts every worker in the same second."""
    start = threading.Barrier(6)

    def begin(worker: int) -> None:
        repository = SentimentRepository(database_url, busy_timeout=20)
        start.wait()
        repository.save([answer(item(f"new{worker}"))])
        repository.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(begin, range(6)))
    assert count_items(old) == 8
    assert run(old, "SELECT version FROM tbcache_schema") == [(VERSION,)]


def test_a_step_that_breaks_off_leaves_the_database_as_it_was(old: SentimentRepository) -> None:
    """A worker may be killed in the middle: the next must find either the old tables or the new."""
    run(old, "CREATE INDEX ix_sentiment_snapshots_moment ON sentiment_snapshots (reason)")
    before = shape(old)
    with pytest.raises(RepositoryUnavailable, match="already exists"):
        count_items(old)
    assert shape(old) == before
    run(old, "DROP INDEX ix_sentiment_snapshots_moment")
    assert count_items(old) == 2


def writing_only(owner: SentimentRepository, url: str) -> SentimentRepository:
    """The database by a user that may write to its tables, and make none."""
    if owner.dialect == "postgresql":
        for statement in (
            "CREATE ROLE writing_only LOGIN",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO writing_only",
        ):
            run(owner, statement)
        url = make_url(url).set(username="writing_only").render_as_string(hide_password=False)
    made = SentimentRepository(url, busy_timeout=20)
    if made.dialect == "sqlite":

        def deny(connection: Any, _record: object) -> None:
            connection.set_authorizer(lambda what, *_: (SQLITE_OK, SQLITE_DENY)[what == SQLITE_CREATE_TABLE])

        event.listen(made._database.engine, "connect", deny)
    return made


def test_who_may_make_no_table_goes_without_the_hours_alone(
    old: SentimentRepository, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the usage of hours is not written, which is said once, until somebody makes the table."""
    count_items(old)
    run(old, "DROP TABLE usage_hours")
    writing = writing_only(old, database_url)
    writer = HourWriter(mock.Mock(get_source_names=list), writing, "fleet")
    try:
        writing.save([answer(item("9"))])
        assert count_items(writing) == 3
        for _ in range(3):
            writer._round()
            # Else what is repeated within a minute would be left out.
            REPEATED.forget()
        (line,) = [one for one in caplog.records if one.msg == "usage.not_written"]
        assert "usage_hours" in vars(line)["reason"]
        old._database.renew()
        old.hours("fleet", NOW)
        if old.dialect == "postgresql":
            run(old, "GRANT ALL ON usage_hours TO writing_only")
        assert writer.write() == 0
    finally:
        writing.close()


def test_a_database_of_a_later_version_is_left_alone(
    repository: SentimentRepository, database_url: str
) -> None:
    """What its tables mean is not known here. Answers wait, and one line says who made it and what to do."""
    repository.save([answer(item("1"))])
    run(repository, "UPDATE tbcache_schema SET version = 99, written_by = '7.5.0'")
    before = shape(repository)
    older = SentimentRepository(database_url)
    for use in (lambda: older.save([answer(item("2"))]), lambda: count_items(older)):
        with pytest.raises(RepositoryUnavailable) as caught:
            use()
        line = str(caught.value)
        assert f"tables of version 99, made by tbcache 7.5.0; this is tbcache {__version__}" in line
        assert "upgrade it, or name another one in TBCACHE_DATABASE_URL" in line
        assert "\n" not in line
    older.close()
    assert (shape(repository), run(repository, "SELECT count(*) FROM sentiment_items")) == (before, [(1,)])
