"""The outbox of a process that has no SQLAlchemy: others of the fleet write what it accepts."""

from __future__ import annotations

from tbcache.io.log import get_logger
from tbcache.models.error import MissingExtra
from tbcache.models.extra import need
from tbcache.repository.answer import Answer
from tbcache.repository.spill import Spill
from tbcache.settings import Settings

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


def need_database() -> None:
    """
    Raises:
      MissingExtra: there is nothing to write to a database with.
    """
    need("the database", "sqlalchemy", otherwise="set TBCACHE_PERSIST=false")


def why_unkept(settings: Settings) -> str | None:
    """Why answers go to no database although nobody has said that they should not; None where they do."""
    if settings.persist or "persist" in settings.model_fields_set:
        return None
    try:
        need_database()
    except MissingExtra as error:
        return f"answers are not kept: {error}"
    return None
