"""Removing what is too old from the database, in the background and in small steps."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tbcache.io import utc_now
from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger
from tbcache.repository.error import RepositoryUnavailable

if TYPE_CHECKING:
    from tbcache.repository.repository import SentimentRepository

#: Rows in a transaction: so long, some milliseconds, a writer may have to wait for it.
BATCH = 500
#: Between two of them others have the database to themselves.
PAUSE_SECONDS = 0.2
#: How often a process looks whether it is to prune.
LOOK_SECONDS = 60.0
#: The process that prunes has so long for a step; then another goes on.
LEASE_SECONDS = 60
#: How long nobody prunes after all that was too old is gone.
REST_SECONDS = 3600

log = get_logger("tbcache.repository")


class Pruner:
    """A thread that removes rows older than ``keep_days``; 0 keeps them for ever.

    Every process that writes has one, and the database itself says whose turn it is: one
    process at a time prunes, once an hour. Where it dies, another goes on a minute later.
    """

    def __init__(self, repository: SentimentRepository, keep_days: int) -> None:
        self._repository = repository
        self._keep_days = keep_days
        self._is_stopped = False
        self._thread = BackgroundThread("tbcache-prune", self._round)

    def start(self) -> None:
        """Have the thread, also in a process that was forked off. Does nothing where all is kept."""
        if self._keep_days and not self._is_stopped:
            self._thread.start()

    def stop(self) -> None:
        self._is_stopped = True
        self._thread.stop()

    def prune(self) -> int:
        """Remove what is too old, if it is this process's turn; how many rows. Where the database goes
        away meanwhile, which is an error, what is gone is gone."""
        oldest, removed = utc_now() - timedelta(days=self._keep_days), 0
        turn = self._repository.take_turn(LEASE_SECONDS, latest=2 * REST_SECONDS)
        while turn is not None and not self._is_stopped:
            count = self._repository.remove_older(oldest, BATCH)
            removed += count
            if not count:
                self._repository.extend_turn(turn, REST_SECONDS)
                break
            self._thread.pause(PAUSE_SECONDS)
            turn = self._repository.extend_turn(turn, LEASE_SECONDS)
        if removed:
            log.info("repository.pruned", rows=removed, older_than=oldest.isoformat(timespec="seconds"))
        return removed

    def _round(self) -> float:
        try:
            self.prune()
        except RepositoryUnavailable as error:
            log.warning("repository.not_pruned", error=str(error))
        return LOOK_SECONDS
