"""What can never be in the database: it is put aside with its reason, and the rest is written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from tbcache.io import utc_now
from tbcache.io.description import described
from tbcache.io.log import get_logger
from tbcache.repository.answer import Answer, encode_answer
from tbcache.repository.error import RepositoryUnavailable
from tbcache.repository.file import write_whole

SUFFIX = ".rejected"
KEPT_SECONDS = 30 * 86400.0
MOST_FILES = 1000
MOST_BYTES = 256 * 1024 * 1024
LONGEST_REASON = 300

log = get_logger("tbcache.repository")


class Saves(Protocol):
    """What answers are written to."""

    def save(self, records: Sequence[Answer]) -> None: ...


def save_apart(repository: Saves, answers: Sequence[Answer]) -> Iterator[tuple[Answer, Exception]]:
    """Write the answers; yields each that is refused for good, with why.

    Whatever is refused for good is refused alone: halves are tried until one answer is left.

    Raises:
      RepositoryUnavailable: the database is away. What is written by then is written again at the next try.
    """
    try:
        repository.save(answers)
    except RepositoryUnavailable:
        raise
    except Exception as error:
        if len(answers) == 1:
            yield answers[0], error
            return
        middle = len(answers) // 2
        yield from save_apart(repository, answers[:middle])
        yield from save_apart(repository, answers[middle:])


class Rejects:
    """A folder of answers that were refused for good, one file each: a line of JSON that says why and
    when, and then the answer as it was.

    The same answer is kept once, whoever puts it aside. Files go after 30 days, and the
    oldest go earlier where there are more than 1,000 or more than 256 MiB of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, answer: Answer | bytes, error: Exception) -> bool:
        """Keep ``answer``, as it is or as bytes that cannot be read; False where no file could be made."""
        data = answer if isinstance(answer, bytes) else encode_answer(answer)
        file = self.folder / f"{hashlib.sha256(data).hexdigest()[:32]}{SUFFIX}"
        reason = described(error)[:LONGEST_REASON]
        head = msgspec.json.encode({"reason": reason, "at": utc_now()})
        try:
            write_whole(file, (head, b"\n", data, b"\n"))
            self._make_room()
        except OSError as failure:
            log.error("repository.rejected", answer=_name(answer), error=reason, not_kept=str(failure))
            return False
        log.error("repository.rejected", answer=_name(answer), error=reason, file=str(file))
        return True

    def _make_room(self) -> None:
        """Remove what is too old, and the oldest of what is too much; never the newest."""
        found = list(self._found())
        found.sort(key=lambda entry: entry[1].st_mtime, reverse=True)
        oldest, total = time.time() - KEPT_SECONDS, 0
        for position, (path, stat) in enumerate(found):
            total += stat.st_size
            if position and (position >= MOST_FILES or total > MOST_BYTES or stat.st_mtime < oldest):
                path.unlink(missing_ok=True)

    def _found(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob(f"*{SUFFIX}"):
            # Another process may remove the same ones.
            with contextlib.suppress(FileNotFoundError):
                yield path, path.stat()


def _name(answer: Answer | bytes) -> str:
    if isinstance(answer, bytes):
        return f"{len(answer)} bytes"
    sentiment = answer.sentiment
    return f"{sentiment.source}:{sentiment.symbol}:{sentiment.hours} of {sentiment.as_of}"[:LONGEST_REASON]
