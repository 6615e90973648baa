"""The writer: what it accepted arrives, once, whatever the database does meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tbcache.io.lock import try_lock
from tbcache.repository import (
    Answer,
    RepositoryUnavailable,
    SentimentRepository,
    Writer,
    decode_answer,
    encode_answer,
)
from tbcache.repository.file import write_whole
from tbcache.repository.writer import BATCH
from tests.postgres import Postgres, has_postgres
from tests.row import count_items
from tests.server import wait_until
from tests.test_repository import LONG_AGO, ROOT, answer, item

PATIENCE = 100.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tbcache.db"


@pytest.fixture
def spill(tmp_path: Path) -> Path:
    return tmp_path / "spill"


@pytest.fixture
def repository(file: Path) -> SentimentRepository:
    return SentimentRepository(f"sqlite:///{file}", busy_timeout=0.05)


@pytest.fixture
def make(repository: SentimentRepository, spill: Path) -> Iterator[Callable[..., Writer]]:
    """Writers on the repository; all are closed at the end."""
    made: list[Writer] = []

    def build(to: object = repository, **options: int) -> Writer:
        made.append(Writer(to, spill=spill, **options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for writer in made:
        writer.close(1)


@pytest.fixture
def lock(file: Path, repository: SentimentRepository) -> Iterator[Callable[[], None]]:
    """The database, locked by someone else; call it to let go."""
    count_items(repository)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    yield lambda: other.execute("ROLLBACK") and None
    other.close()


class Database:
    """A repository in memory that can be down, slow, or refuse single answers."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.batches: list[int] = []
        self.attempts = 0
        self.is_down = False
        self.refused = ""
        self.gate = threading.Event()
        self.gate.set()

    def save(self, records: Sequence[Answer]) -> None:
        self.attempts += 1
        assert self.gate.wait(PATIENCE)
        if self.is_down:
            raise RepositoryUnavailable("down")
        names = [record.items[0][0].id for record in records]
        if self.refused in names:
            raise ValueError("no such thing")
        self.batches.append(len(names))
        self.written += names


def names(repository: SentimentRepository) -> list[str]:
    return sorted(found.id for found in repository.items("twitter", "AAPL", since=LONG_AGO, limit=10**6))


def numbered(first: int, last: int) -> list[str]:
    return [f"{n:05d}" for n in range(first, last)]


def test_what_is_accepted_is_written(make: Callable[..., Writer], repository: SentimentRepository) -> None:
    """The whole purpose."""
    writer = make()
    for name in numbered(0, 50):
        writer.accept(answer(item(name)))
    assert writer.flush(PATIENCE)
    assert names(repository) == numbered(0, 50)


def test_answers_are_written_without_anyone_flushing(make: Callable[..., Writer]) -> None:
    """A worker accepts and goes on; nobody ever calls flush."""
    database = Database()
    make(database).accept(answer(item("1")))
    wait_until(lambda: database.written == ["1"], PATIENCE)


def test_an_error_that_nobody_foresaw_loses_nothing(
    make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken up when it came must be written all the same."""
    database = Database()
    writer = make(database)
    write, errors = writer._write, [TypeError("nobody foresaw this")]

    def stumble() -> None:
        if errors:
            raise errors.pop()
        write()

    monkeypatch.setattr(writer, "_write", stumble)
    writer.accept(answer(item("1")))
    wait_until(lambda: database.written == ["1"])


def test_a_file_that_cannot_be_read_holds_up_no_other(
    make: Callable[..., Writer], repository: SentimentRepository, spill: Path
) -> None:
    """One that another user has left there, or a folder of that name, must not stop all writing."""
    (spill / "000.jsonl").mkdir(parents=True)
    spill.chmod(0o700)
    writer = make()
    writer.accept(answer(item("1")))
    assert writer.flush(PATIENCE)
    assert names(repository) == ["1"]


def test_a_write_that_fails_leaves_no_half(spill: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk, each try would take some of what is left."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_whole(spill / "one.jsonl", [b"1"])
    assert list(spill.iterdir()) == []


def test_answers_share_transactions_but_not_too_many(make: Callable[..., Writer]) -> None:
    """A transaction each would cost a sync each; one of a thousand would hold its locks too long."""
    database = Database()
    database.gate.clear()
    writer = make(database)
    first, *others = numbered(0, BATCH + 10)
    writer.accept(answer(item(first)))
    # Until it is in the database's hands, those that come share its transaction.
    wait_until(lambda: database.attempts)
    for name in others:
        writer.accept(answer(item(name)))
    database.gate.set()
    assert writer.flush(PATIENCE)
    assert database.written == [first, *others]
    assert database.batches == [1, BATCH, 9]


def test_accepting_never_waits_for_the_database(make: Callable[..., Writer]) -> None:
    """A database that hangs must cost no answer."""
    database = Database()
    database.gate.clear()
    writer = make(database)
    for name in numbered(0, 100):
        writer.accept(answer(item(name)))
    assert database.written == []
    database.gate.set()
    assert writer.flush(PATIENCE)
    assert sorted(set(database.written)) == numbered(0, 100)


def test_a_locked_database_gets_everything_once_it_is_free(
    make: Callable[..., Writer], repository: SentimentRepository, lock: Callable[[], None]
) -> None:
    """Backups and migrations lock it for minutes."""
    writer = make()
    for name in numbered(0, 30):
        writer.accept(answer(item(name)))
    assert not writer.flush(0.3)
    lock()
    assert writer.flush(PATIENCE)
    assert names(repository) == numbered(0, 30)
    assert len(repository.history("twitter", "AAPL", since=LONG_AGO)) == 1


def test_an_outage_takes_no_memory(
    make: Callable[..., Writer], repository: SentimentRepository, lock: Callable[[], None], spill: Path
) -> None:
    """A long one must lose nothing and not take the memory of the worker."""
    writer = make()
    for name in numbered(0, 100):
        writer.accept(answer(item(name)))
    assert len(list(spill.glob("*.jsonl"))) == 100
    assert writer._waiting == []
    lock()
    assert writer.flush(PATIENCE)
    assert names(repository) == numbered(0, 100)
    assert list(spill.iterdir()) == []


def test_closing_while_the_database_is_down_leaves_the_rest_to_the_next_start(
    make: Callable[..., Writer], repository: SentimentRepository, lock: Callable[[], None], spill: Path
) -> None:
    """A deployment during an outage restarts every worker."""
    writer = make()
    for name in numbered(0, 30):
        writer.accept(answer(item(name)))
    assert not writer.flush(0.3)
    writer.close(0.1)
    writer.accept(answer(item("late")))
    assert len(list(spill.glob("*.jsonl"))) >= 2
    lock()
    following = make()
    following.start()
    assert following.flush(PATIENCE)
    assert names(repository) == [*numbered(0, 30), "late"]
    assert list(spill.iterdir()) == []


def test_a_killed_process_leaves_what_it_had_accepted(
    file: Path, spill: Path, repository: SentimentRepository, lock: Callable[[], None]
) -> None:
    """kill -9 during an outage of the database is what an impatient operator does."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tbcache.repository import SentimentRepository, Writer\n"
        "from tests.server import wait_until\n"
        "from tests.test_repository_writer import answer, item, numbered\n"
        "spill = Path(sys.argv[2])\n"
        "writer = Writer(SentimentRepository(sys.argv[1], busy_timeout=0.05), spill=spill)\n"
        "writer.accept(answer(item('first')))\n"
        "wait_until(lambda: writer._is_failing)\n"
        "for name in numbered(0, 30):\n"
        "    writer.accept(answer(item(name)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, f"sqlite:///{file}", str(spill)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, "", "")
    lock()
    following = Writer(repository, spill=spill)
    following.start()
    assert following.flush(PATIENCE)
    following.close()
    assert names(repository) == [*numbered(0, 30), "first"]
    assert list(spill.iterdir()) == []


def test_a_process_that_is_killed_as_soon_as_it_has_an_answer_leaves_it(
    file: Path, spill: Path, repository: SentimentRepository
) -> None:
    """The caller has it by then, and may have paid for it; the database must have it as well."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tbcache.repository import SentimentRepository, Writer\n"
        "from tests.test_repository_writer import answer, item\n"
        "writer = Writer(SentimentRepository(sys.argv[1]), spill=Path(sys.argv[2]))\n"
        "writer.accept(answer(item('only')))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, f"sqlite:///{file}", str(spill)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, "", "")
    following = Writer(repository, spill=spill)
    following.start()
    assert following.flush(PATIENCE)
    following.close()
    assert names(repository) == ["only"]


def test_a_process_that_is_killed_while_the_database_is_slow_leaves_all(
    file: Path, spill: Path, repository: SentimentRepository
) -> None:
    """Another writer may hold the database for seconds: what comes meanwhile must not be in memory alone."""
    code = (
        "import os, signal, sys, threading\n"
        "from pathlib import Path\n"
        "from tbcache.repository import Writer\n"
        "from tests.server import wait_until\n"
        "from tests.test_repository_writer import Database, answer, item, numbered\n"
        "database = Database()\n"
        "database.gate.clear()\n"
        "writer = Writer(database, spill=Path(sys.argv[1]))\n"
        "writer.accept(answer(item('first')))\n"
        "wait_until(lambda: database.attempts)\n"
        "for name in numbered(0, 5):\n"
        "    writer.accept(answer(item(name)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(spill)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, "", "")
    following = Writer(repository, spill=spill)
    following.start()
    assert following.flush(PATIENCE)
    following.close()
    assert names(repository) == [*numbered(0, 5), "first"]


def test_closing_does_not_wait_for_a_database_that_is_down(make: Callable[..., Writer]) -> None:
    """Stopping has five seconds for everything."""
    database = Database()
    database.is_down = True
    writer = make(database)
    writer.accept(answer(item("1")))
    wait_until(lambda: writer._is_failing, PATIENCE)
    closing = threading.Thread(target=writer.close, args=(60.0,))
    closing.start()
    closing.join(PATIENCE)
    assert not closing.is_alive()


def test_closing_keeps_the_batch_that_hangs_in_the_database(make: Callable[..., Writer], spill: Path) -> None:
    """The process ends before the database answers, and its transaction with it."""
    database = Database()
    database.gate.clear()
    writer = make(database)
    writer.accept(answer(item("1")))
    wait_until(lambda: database.attempts, PATIENCE)
    writer.close(0)
    assert [b'"id":"1"' in file.read_bytes() for file in spill.glob("*.jsonl")] == [True]
    database.gate.set()


def test_tries_grow_rarer_while_the_database_is_down(
    make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet that hammers a database keeps it from coming back."""
    database = Database()
    database.is_down = True
    waits: list[float] = []
    done = threading.Event()

    def pause(_self: Writer, seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 8:
            database.is_down = False
            done.set()

    monkeypatch.setattr(Writer, "_pause", pause)
    make(database).accept(answer(item("1")))
    assert done.wait(PATIENCE)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    wait_until(lambda: database.written == ["1"], PATIENCE)


def test_one_answer_that_is_refused_for_good_keeps_none_back(
    make: Callable[..., Writer], spill: Path
) -> None:
    """Else a single odd row would stop all writing for ever; it is kept in a file, and said."""
    database = Database()
    database.refused = "00003"
    writer = make(database)
    for name in numbered(0, 6):
        writer.accept(answer(item(name)))
    assert writer.flush(PATIENCE)
    assert sorted(database.written) == ["00000", "00001", "00002", "00004", "00005"]
    (kept,) = spill.iterdir()
    assert kept.suffix == ".rejected"
    reason, refused = kept.read_bytes().splitlines()
    assert b"no such thing" in reason
    assert decode_answer(refused) == answer(item("00003"))


def test_a_broken_file_keeps_nothing_back(
    make: Callable[..., Writer], repository: SentimentRepository, spill: Path
) -> None:
    """A disk that was full leaves half a line; what is whole beside it is still good."""
    spill.mkdir()
    whole = encode_answer(answer(item("good")))
    (spill / "1.jsonl").write_bytes(whole[:40] + b"\n" + whole + b"\n")
    (spill / "2.partial").write_bytes(whole)
    writer = make()
    writer.start()
    assert writer.flush(PATIENCE)
    assert names(repository) == ["good"]
    assert (spill / "1.corrupt").read_bytes() == whole[:40]
    assert not (spill / "1.jsonl").exists()


def test_what_a_killed_process_left_half_written_is_removed(make: Callable[..., Writer], spill: Path) -> None:
    """Each kill would leave a file for ever; one that is being written stays, however long that takes."""
    spill.mkdir()
    left, recent, in_hand = (spill / f"{name}.partial" for name in ("left", "recent", "in-hand"))
    for path in (left, recent, in_hand):
        path.write_bytes(b"half")
    for path in (left, in_hand):
        os.utime(path, (0, 0))
    with in_hand.open("rb") as held:
        assert try_lock(held.fileno())
        writer = make()
        writer.start()
        assert writer.flush(PATIENCE)
        assert sorted(spill.iterdir()) == [in_hand, recent]


def test_answers_stay_in_memory_where_no_file_takes_them(make: Callable[..., Writer], spill: Path) -> None:
    """Losing them would be worse than the memory they take."""
    spill.write_text("a file where the folder should be")
    database = Database()
    database.is_down = True
    writer = make(database)
    for name in numbered(0, 50):
        writer.accept(answer(item(name)))
    spill.unlink()
    database.is_down = False
    assert writer.flush(PATIENCE)
    assert sorted(database.written) == numbered(0, 50)


@pytest.mark.parametrize("is_closed", [False, True])
def test_what_waits_in_memory_goes_to_a_file_as_soon_as_one_can_be_made(
    make: Callable[..., Writer], spill: Path, is_closed: bool
) -> None:
    """A process that is killed after that, or closed, would lose it while the database is down."""
    spill.write_text("a file where the folder should be")
    database = Database()
    database.is_down = not is_closed
    if is_closed:
        # It hangs in the database, and never comes to put anything aside by itself.
        database.gate.clear()
    writer = make(database)
    writer.accept(answer(item("1")))
    wait_until(lambda: database.attempts)
    spill.unlink()
    if is_closed:
        writer.close(0)
    wait_until(lambda: list(spill.glob("*.jsonl")))
    assert writer._waiting == []
    database.gate.set()


def test_a_writer_that_is_not_used_starts_no_thread(make: Callable[..., Writer], spill: Path) -> None:
    """Every process has one, and most of them write nothing."""
    writer = make()
    writer.close(1)
    assert not writer._thread.is_running
    assert not spill.exists()


def test_a_script_that_just_ends_still_writes(file: Path, spill: Path) -> None:
    """A user's bot calls fetch and returns; nobody told it to close anything."""
    code = (
        "from pathlib import Path\n"
        "from tbcache.repository import SentimentRepository, Writer\n"
        "from tests.test_repository import answer, item\n"
        f"writer = Writer(SentimentRepository('sqlite:///{file}'), spill=Path({str(spill)!r}))\n"
        "writer.accept(answer(item('last')))\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT, timeout=60)
    assert names(SentimentRepository(f"sqlite:///{file}")) == ["last"]


if has_postgres():

    def test_a_killed_postgresql_costs_no_row(make: Callable[..., Writer]) -> None:
        """The repository must come back by itself, through dead connections in its pool."""
        server = Postgres()
        try:
            repository = SentimentRepository(server.new_database(), busy_timeout=1)
            writer = make(repository)
            writer.accept(answer(item("before")))
            assert writer.flush(PATIENCE)
            server.stop()
            writer.accept(answer(item("during")))
            wait_until(lambda: writer._is_failing, PATIENCE)
            server.start()
            writer.accept(answer(item("after")))
            assert writer.flush(PATIENCE)
            server.stop()
            server.start()
            assert names(repository) == ["after", "before", "during"]
            repository.close()
        finally:
            server.close()
