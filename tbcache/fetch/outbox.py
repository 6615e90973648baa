"""The outbox: answers accepted for the database, kept in Redis until they are in it.

``settle`` puts an answer there in the same step that stores it in the cache, so none is
lost when a process or the database dies. Any process may write them: writing one twice
changes nothing.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from tbcache.fetch.hour import HourWriter
from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger
from tbcache.io.singleton import singleton
from tbcache.models.extra import has
from tbcache.monitoring import get_usage_monitor
from tbcache.repository.answer import Answer, decode_answer
from tbcache.repository.error import CorruptAnswer, RepositoryUnavailable
from tbcache.repository.handover import Handover
from tbcache.repository.prune import Pruner
from tbcache.repository.reject import save_apart
from tbcache.repository.spill import Spill
from tbcache.repository.writer import Writer
from tbcache.settings import get_settings, get_sources
from tbcache.settings.database import database_url
from tbcache.store import Refused, Store, Unavailable, get_store
from tbcache.store.reply import pairs
from tbcache.store.server import TIME, AskTime, Time
from tbcache.store.wire import MICROS, to_time

if TYPE_CHECKING:
    from tbcache.repository.repository import SentimentRepository

log = get_logger("tbcache.repository")

POLL_SECONDS = 0.5
IDLE_POLLS = 10
BATCH = 100

#: The id of an entry of the outbox, and its fields by name.
Entry = tuple[bytes, Mapping[bytes, bytes]]


class Outbox:
    """Moves answers from Redis to the database, in a thread that ends when there is nothing to do."""

    def __init__(
        self,
        store: Store,
        sources: Iterable[str],
        repository: SentimentRepository,
        writer: Writer,
        pruner: Pruner,
        hours: HourWriter | None = None,
    ) -> None:
        self._store = store
        self._sources = list(sources)
        self._repository = repository
        self._writer = writer
        self._rejects = writer.rejects
        #: What else is to be done in a process that writes.
        self._chores = (pruner,) if hours is None else (pruner, hours)
        self._is_closed = False
        self._is_known_at_exit = False
        self._idle = 0
        self._thread = BackgroundThread("tbcache-outbox", self._round)

    def accept(self, answer: Answer) -> None:
        """Take an answer that could not go through Redis."""
        self._writer.accept(answer)
        self._start_chores()

    def nudge(self) -> None:
        """Say that there is something in the outbox."""
        if not self._is_closed:
            self._thread.start()
        if not self._is_known_at_exit:
            self._is_known_at_exit = True
            atexit.register(self.close)
        self._start_chores()

    def _start_chores(self) -> None:
        for chore in self._chores:
            chore.start()

    def drain(self) -> int:
        """Write what is there; how many answers.

        Raises:
          Unavailable: Redis is away. RepositoryUnavailable: the database is; they wait.
        """
        written = 0
        for source in self._sources:
            # A refusal that is about one source's key must not hold up the others.
            try:
                written += self._drain(source)
            except Refused as error:
                log.warning("outbox.refused", key=self._store.keys.outbox(source), reason=error.reason)
        return written

    def _drain(self, source: str) -> int:
        key, written, start = self._store.keys.outbox(source), 0, "-"
        while entries := self._read(key, start):
            done = self._write(entries, self._store.run(TIME, AskTime(self._store.keys.state(source))))
            if done:
                self._store.call("XDEL", key, *done)
            written += len(done)
            # An answer that was refused and could not be put aside stays; those after it are written.
            start = f"({entries[-1][0].decode()}"
        return written

    def _write(self, entries: Sequence[Entry], read_at: Time) -> list[bytes]:
        """Write a batch that was read by then; the ids of what is in the database now, or put aside."""
        answers, kept = {}, set()
        for entry, fields in entries:
            data = fields.get(b"answer", b"")
            try:
                answer = decode_answer(data).with_stored_at(_written_at(entry, read_at))
                # What was overtaken was never told to the fleet: the past does not tell of it either.
                answers[entry] = replace(answer, load=None) if b"overtaken" in fields else answer
            except CorruptAnswer as error:
                if not self._rejects.put(data, error):
                    kept.add(entry)
        for refused, reason in save_apart(self._repository, list(answers.values())):
            if not self._rejects.put(refused, reason):
                kept.update(entry for entry, answer in answers.items() if answer is refused)
        return [entry for entry, _ in entries if entry not in kept]

    def close(self) -> None:
        """Write what is there, as far as Redis and the database are up, and stop."""
        if self._is_closed:
            return
        self._is_closed = True
        for chore in self._chores:
            chore.stop()
        self._thread.stop(timeout=2.0)
        self._try_drain()
        self._writer.close()

    def _round(self) -> float | None:
        self._idle = 0 if self._try_drain() else self._idle + 1
        if self._idle < IDLE_POLLS:
            return POLL_SECONDS
        self._idle = 0
        return None

    def _try_drain(self) -> bool:
        """True when there was something to write, or there may still be."""
        try:
            return self.drain() > 0
        except (Unavailable, RepositoryUnavailable) as error:
            log.warning("outbox.waits", reason=str(error))
            return True

    def _read(self, key: str, start: str) -> list[Entry]:
        entries = self._store.call("XRANGE", key, start, "+", "COUNT", BATCH)
        return [(entry, dict(pairs(fields))) for entry, fields in entries]


def _written_at(entry: bytes, read_at: Time) -> datetime:
    """By when the ``entry`` of an outbox, which was read by ``read_at``, was there. Its id is the server's
    time, in whole milliseconds; but where that was ever ahead, all later ids are, until it comes there again.
    """
    id_us = (1 + int(entry.partition(b"-")[0])) * 1000
    return to_time(min(id_us, read_at.seconds * MICROS + read_at.micros))


@singleton
def get_repository() -> SentimentRepository:
    """The database of this process's settings: SQLite in the data folder unless they name another."""
    # SQLAlchemy takes a quarter of a second to import: not before it is needed.
    from tbcache.repository import SentimentRepository

    return SentimentRepository(database_url(get_settings()))


class AnswerSink(Protocol):
    """What of an outbox whoever fetches needs."""

    def accept(self, answer: Answer) -> None: ...

    def nudge(self) -> None: ...


@singleton
def get_outbox() -> Outbox | Handover:
    """The outbox of this process."""
    settings = get_settings()
    if not has("sqlalchemy"):
        return Handover(Spill(settings.data_dir / "spill"))
    repository = get_repository()
    writer = Writer(repository, spill=settings.data_dir / "spill")
    pruner = Pruner(repository, settings.keep_days)
    hours = HourWriter(get_usage_monitor(), repository, settings.namespace)
    return Outbox(get_store(), get_sources(settings), repository, writer, pruner, hours)
