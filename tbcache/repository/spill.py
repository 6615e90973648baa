"""Batches of answers in files, for when there is no database and no more memory."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from tbcache.io.log import get_logger
from tbcache.repository.answer import Answer, decode_answer, encode_answer
from tbcache.repository.error import CorruptAnswer
from tbcache.repository.file import remove_abandoned, write_whole

_BATCH = ".jsonl"
_serial = count()
log = get_logger("tbcache.repository")


class Spill:
    """A folder of batches, one file each, oldest first by name.

    A file appears whole or not at all, and is removed once it is written to the
    database. Several processes may share the folder: a batch that two of them
    write is written once, as all writing here is idempotent. A disk that does
    not serve is an OSError.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, batch: Sequence[Answer]) -> Path:
        """Keep ``batch``; it is on the disk when this returns."""
        stem = f"{time.time_ns():020d}-{os.getpid()}-{next(_serial)}"
        return write_whole(
            self.folder / f"{stem}{_BATCH}", (encode_answer(answer) + b"\n" for answer in batch)
        )

    def files(self) -> list[Path]:
        """The batches, oldest first. What processes that were killed have left half written goes."""
        remove_abandoned(self.folder)
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix == _BATCH)
        except FileNotFoundError:
            return []

    def read(self, file: Path) -> list[Answer]:
        """The answers in ``file``; none where it is gone. A line that cannot be read is kept beside it."""
        try:
            lines = file.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        answers, corrupt = [], []
        for line in lines:
            try:
                answers.append(decode_answer(line))
            except CorruptAnswer as error:
                corrupt.append(line)
                log.error("repository.corrupt", file=str(file), error=str(error))
        if corrupt:
            file.with_suffix(".corrupt").write_bytes(b"\n".join(corrupt))
        return answers

    def remove(self, file: Path) -> None:
        file.unlink(missing_ok=True)
