"""The outbox of a process that has no SQLAlchemy: others of the fleet write what it accepts."""

from __future__ import annotations

from tbcache.io.log import get_logger
from tbcache.repository.answer import Answer
from tbcache.repository.spill import Spill

log = get_logger("tbcache.repository")


class Handover:
    """Leaves answers in Redis, where whoever writes takes them from.

    One that could not go through Redis goes to a file, for a process with the same data folder.
    """

    def __init__(self, spill: Spill) -> None:
        self._spill = spill

    def accept(self, answer: Answer) -> None:
        """Take an answer that could not go through Redis."""
        try:
            self._spill.put([answer])
        except OSError as error:
            log.error("repository.spill_failed", folder=str(self._spill.folder), error=str(error))

    def nudge(self) -> None:
        """Say that there is something in the outbox."""

    def close(self) -> None:
        """Stop; there is nothing to do."""
