"""Writing off the hot path: an answer is accepted at once, and written when the database takes it."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from tbcache.io.background import BackgroundThread
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
    that no killed process loses it. Only those that come while others are being written wait in memory,
    for that long, and are then taken up together. While the database is down, all go to files at once.
    Files are written when it is back, by this writer or the next with that folder. Where no file can
    be made they wait in memory, ``capacity`` at most.
    """

    def __init__(self, repository: Saves, *, spill: Path, capacity: int = 10_000) -> None:
        self._repository = repository
        self._capacity = max(1, capacity)
        self._spill = Spill(spill)
        self.rejects = Rejects(spill)
        self._waiting: deque[Answer] = deque()
        self._writing: list[Answer] = []
        # The file of what is being written, where one could be made.
        self._ahead: Path | None = None
        self._changed = threading.Condition()
        self._thread = BackgroundThread("tbcache-writer", self._round)
        self._wait = FIRST_WAIT_SECONDS
        self._is_known_at_exit = False
        # Until the folder was looked at, it may hold what an earlier writer left.
        self._may_have_files = True
        self._unreadable: set[Path] = set()
        self._is_failing = False
        self._is_busy = False
        self._is_closed = False

    def accept(self, answer: Answer) -> None:
        """Take ``answer`` for writing. Never fails, and never waits for the database."""
        with self._changed:
            is_alone = not (self._is_busy or self._waiting)
            self._waiting.append(answer)
            is_over = len(self._waiting) > self._capacity
            if is_alone or is_over or self._is_failing or self._is_closed:
                self._spill_oldest()
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
        """Write for up to ``timeout`` seconds more, put the rest in files, and stop.

        Does not wait for a database that is down.
        """
        if self._thread.is_running:
            self._settle(timeout, patient=False)
        with self._changed:
            self._is_closed = True
            # A batch in the middle of its transaction is kept too: written twice is written once.
            self._spill_all()
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
        return not (self._waiting or self._writing or self._may_have_files)

    def _start(self) -> None:
        """With the lock held: have a thread, also in a process that was forked off."""
        if not self._is_known_at_exit:
            self._is_known_at_exit = True
            atexit.register(self.close)
        self._thread.start()

    def _spill_oldest(self) -> bool:
        """With the lock held: move the oldest batch to a file. What no file takes stays in memory."""
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        try:
            self._spill.put(batch)
        except OSError as error:
            self._waiting.extendleft(reversed(batch))
            log.error("repository.spill_failed", folder=str(self._spill.folder), error=str(error))
            return False
        self._may_have_files = True
        return True

    def _round(self) -> float | None:
        """Write one batch; None when the writer is closed."""
        if not self._take():
            return None
        try:
            self._write()
            self._is_failing, self._wait = False, FIRST_WAIT_SECONDS
        except (RepositoryUnavailable, OSError) as error:
            log.warning("repository.unavailable", waiting=len(self._waiting), error=str(error))
            self._put_back()
            self._pause(self._wait)
            self._wait = min(self._wait * 2, LONGEST_WAIT_SECONDS)
        finally:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
        return 0.0

    def _take(self) -> bool:
        """Wait for a batch; False when the writer is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._is_idle())
            if not self._is_closed:
                self._is_busy = True
                # What was in hand when an error came that nobody foresaw; written twice is written once.
                self._waiting.extendleft(reversed(self._writing))
                self._writing = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            return not self._is_closed

    def _write(self) -> None:
        if self._writing:
            self._spill_taken()
            self._save(self._writing)
        with self._changed:
            self._writing = []
            ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._spill.remove(ahead)
        if self._may_have_files:
            self._write_files()

    def _write_files(self) -> None:
        for file in self._readable():
            try:
                batch = self._spill.read(file)
            except OSError as error:
                # One file that cannot be read holds up no other.
                self._unreadable.add(file)
                log.error("repository.unreadable", file=str(file), error=str(error))
                continue
            self._save(batch)
            self._spill.remove(file)
        with self._changed:
            self._may_have_files = bool(self._readable())

    def _readable(self) -> list[Path]:
        return [file for file in self._spill.files() if file not in self._unreadable]

    def _save(self, batch: Sequence[Answer]) -> None:
        """Write a batch; what the database refuses for good is put aside alone, not with the rest."""
        for answer, error in save_apart(self._repository, batch):
            self.rejects.put(answer, error)

    def _spill_taken(self) -> None:
        """Have a file of the batch in hand."""
        try:
            ahead = self._spill.put(self._writing)
        except OSError as error:
            log.warning("repository.unsafe", folder=str(self._spill.folder), error=str(error))
            return
        with self._changed:
            self._ahead = ahead

    def _spill_all(self) -> None:
        """With the lock held: move everything to files, as far as they take it."""
        if self._ahead is None:
            self._waiting.extendleft(reversed(self._writing))
        elif self._writing:
            self._may_have_files = True
        while self._waiting and self._spill_oldest():
            pass

    def _put_back(self) -> None:
        with self._changed:
            if not self._is_closed:
                self._spill_all()
            self._writing, self._ahead = [], None
            self._is_failing = True
            self._changed.notify_all()

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, seconds)
