"""Writing off the hot path: an answer is accepted at once, and written when the database takes it."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tbcache.io.background import BackgroundThread
from tbcache.io.fork import renew_in_child
from tbcache.io.log import get_logger
from tbcache.repository.answer import Answer
from tbcache.repository.error import RepositoryUnavailable
from tbcache.repository.reject import Rejects, Saves, save_apart
from tbcache.repository.spill import Spill

BATCH = 200
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 2.0

log = get_logger("tbcache.repository")


class Writer:
    """A thread that writes accepted answers, in order, up to 200 in a transaction.

    An answer is in a file of the folder ``spill`` from when it is accepted until the database has it, so
    that no process that is killed loses it; this writer, or the next with that folder, writes what lies
    there. Only where no file can be made does an answer wait in memory.
    """

    def __init__(self, repository: Saves, *, spill: Path) -> None:
        self._repository = repository
        self._spill = Spill(spill)
        self.rejects = Rejects(spill)
        # The answers that no file has taken.
        self._waiting: list[Answer] = []
        self._thread = BackgroundThread("tbcache-writer", self._round)
        self._wait = FIRST_WAIT_SECONDS
        self._is_known_at_exit = False
        # The folder may hold what an earlier writer left until it was looked at.
        self._may_have_files = True
        self._unreadable: set[Path] = set()
        self._is_failing = False
        self._is_closed = False
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Make the lock: at the start, and in a forked child, where another thread of the parent may hold
        it.
        """
        self._changed = threading.Condition()

    def accept(self, answer: Answer) -> None:
        """Take ``answer`` for writing. Never fails, and never waits for the database."""
        is_safe = self._store([answer])
        with self._changed:
            if is_safe:
                self._may_have_files = True
            else:
                self._waiting.append(answer)
            if not self._is_closed:
                self._start()
            self._changed.notify_all()

    def start(self) -> None:
        """Write what an earlier writer left in the folder, without waiting for an answer."""
        with self._changed:
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until all that was accepted is written; whether it is."""
        return self._settle(timeout, patient=True)

    def close(self, timeout: float = 5.0) -> None:
        """Write for up to ``timeout`` seconds more, leave the rest in files, and stop.

        Does not wait for a database that is down.
        """
        if self._thread.is_running:
            self._settle(timeout, patient=False)
        with self._changed:
            self._is_closed = True
            # A batch in the middle of its transaction is kept too: written twice is written once.
            self._keep_waiting()
            self._changed.notify_all()
        self._thread.stop(timeout=0.2)
        atexit.unregister(self.close)

    def _settle(self, timeout: float, *, patient: bool) -> bool:
        with self._changed:
            if not self._is_closed and not self._is_idle():
                self._start()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_idle() or (self._is_failing and not patient), timeout)
            return self._is_idle()

    def _is_idle(self) -> bool:
        return not (self._waiting or self._may_have_files)

    def _start(self) -> None:
        """Have a thread, also in a process that was forked off. The lock is held."""
        if not self._is_known_at_exit:
            self._is_known_at_exit = True
            atexit.register(self.close)
        self._thread.start()

    def _store(self, answers: list[Answer]) -> bool:
        """Put the answers into a file; False where none can be made."""
        try:
            self._spill.put(answers)
        except OSError as error:
            log.error("repository.spill_failed", folder=str(self._spill.folder), error=str(error))
            return False
        return True

    def _keep_waiting(self) -> None:
        """Move what waits in memory to a file, if one takes it now. The lock is held."""
        if self._waiting and self._store(self._waiting):
            self._waiting, self._may_have_files = [], True

    def _round(self) -> float | None:
        """Write what there is; None when the writer is closed."""
        if not self._has_work():
            return None
        try:
            self._write()
            self._is_failing, self._wait = False, FIRST_WAIT_SECONDS
        except (RepositoryUnavailable, OSError) as error:
            log.warning("repository.unavailable", waiting=len(self._waiting), error=str(error))
            self._fail()
            self._pause(self._wait)
            self._wait = min(self._wait * 2, LONGEST_WAIT_SECONDS)
        with self._changed:
            self._changed.notify_all()
        return 0.0

    def _has_work(self) -> bool:
        """Wait for work; False when the writer is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._is_idle())
            return not self._is_closed

    def _write(self) -> None:
        self._write_waiting()
        for files in self._batches():
            self._write_files(files)
        with self._changed:
            self._may_have_files = bool(self._readable())

    def _write_waiting(self) -> None:
        while batch := self._waiting[:BATCH]:
            self._save(batch)
            with self._changed:
                # More answers may have come meanwhile, and a close has put all of them into a file.
                self._waiting = self._waiting[len(batch) :]

    def _batches(self) -> Iterator[list[Path]]:
        files = self._readable()
        return (files[start : start + BATCH] for start in range(0, len(files), BATCH))

    def _write_files(self, files: Sequence[Path]) -> None:
        answers = {file: self._read(file) for file in files}
        self._save([answer for found in answers.values() for answer in found or ()])
        for file, found in answers.items():
            if found is not None:
                self._spill.remove(file)

    def _read(self, file: Path) -> list[Answer] | None:
        try:
            return self._spill.read(file)
        except OSError as error:
            # A file that cannot be read must not hold up the others.
            self._unreadable.add(file)
            log.error("repository.unreadable", file=str(file), error=str(error))
            return None

    def _readable(self) -> list[Path]:
        return [file for file in self._spill.files() if file not in self._unreadable]

    def _save(self, batch: Sequence[Answer]) -> None:
        """Write a batch; what the database refuses for good is put aside alone, not with the rest."""
        for answer, error in save_apart(self._repository, batch):
            self.rejects.put(answer, error)

    def _fail(self) -> None:
        with self._changed:
            self._keep_waiting()
            self._is_failing = True
            self._changed.notify_all()

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, seconds)
