"""What becomes of the jobs that a worker is handed out, before its threads take them up."""

from __future__ import annotations

from collections.abc import Callable

from tbcache.io import utc_now
from tbcache.io.description import described
from tbcache.io.log import get_logger
from tbcache.queue.context import WorkerContext
from tbcache.queue.hand import Hand, HeldJob
from tbcache.queue.job import UNKNOWN, Finish, dead
from tbcache.queue.reader import Unknown, Unreadable, due_ms, read_job
from tbcache.queue.script import HandedOut, job_of
from tbcache.settings import Source
from tbcache.store import Unavailable

log = get_logger("tbcache.queue")

#: For how long a job waits that only another worker can run: at first, and at most.
UNKNOWN_SECONDS, MOST_UNKNOWN_SECONDS = 0.1, 5.0
MOST_WARNINGS = 100


class Intake:
    """Reads the jobs of one queue, and keeps those that this worker can run now."""

    def __init__(
        self, context: WorkerContext, hand: Hand, source: Source, end: Callable[[bytes, Finish], None]
    ) -> None:
        """``end`` is called with the claim of each of the others, and what is to become of it."""
        self._shared, self._hand, self._source, self._end = context, hand, source, end

    def read(self, handed_out: HandedOut) -> HeldJob | None:
        """The job; None for one that cannot be run here, which is dead-lettered or put off by then."""
        claim = handed_out.claim
        try:
            is_paced = bool(self._source.limits)
            job = read_job(handed_out, self._source.name, self._shared.actors, is_paced=is_paced)
            if job.slot is not None:
                self._hand.use(claim, self._source.cost)
            if self._is_moved(job):
                return None
            return self._due(job)
        except Unknown as error:
            self._warn_once(str(error))
            reason = f"{UNKNOWN} {error}"
            seconds = self._put_off_seconds(job_of(claim))
            self._end(claim, Finish("later", delay_seconds=seconds, is_begun=False, reason=reason))
        except Exception as error:
            reason = str(error) if isinstance(error, Unreadable) else described(error)
            log.warning("job.dead_lettered", source=self._source.name, reason=reason)
            self._end(claim, dead(reason, is_begun=False))
        return None

    def priority(self, job: HeldJob) -> int:
        """That of its actor; the least goes first."""
        actor = self._shared.actors.get(job.actor_name)
        return 0 if actor is None else actor.priority

    def _is_moved(self, job: HeldJob) -> bool:
        """Whether the job went to the queue of the source that paces its actor: where it was queued before
        that was said, it would run without a slot of that source."""
        actor = self._shared.actors.get(job.actor_name)
        home = None if actor is None else actor.options.get("source")
        if job.is_fetch or home is None or home == self._source.name:
            return False
        end = Finish("done", is_begun=False)
        try:
            self._shared.resend(job._message.copy(queue_name=home), 0)
            log.info("job.moved", source=self._source.name, actor=job.actor_name, to=home)
        except Unavailable:
            end = Finish("later", delay_seconds=UNKNOWN_SECONDS, is_begun=False)
        self._end(job.claim, end)
        return True

    def _due(self, job: HeldJob) -> HeldJob | None:
        """The job, if it is due by its own option; else it waits in Redis, not in this worker's memory."""
        seconds = due_ms(job._message) / 1000 - utc_now().timestamp()
        if seconds > 0:
            self._end(job.claim, Finish("later", delay_seconds=seconds, is_begun=False))
            return None
        if due_ms(job._message):
            del job.options["eta"]
        return job

    def _put_off_seconds(self, job_id: str) -> float:
        """Each time twice as long: one that can run the job may take it at once, or none may be there."""
        known = self._hand.put_off
        known[job_id] = min(2 * known.get(job_id, UNKNOWN_SECONDS / 2), MOST_UNKNOWN_SECONDS)
        return known[job_id]

    def _warn_once(self, what: str) -> None:
        if what not in self._hand.unknown and len(self._hand.unknown) < MOST_WARNINGS:
            self._hand.unknown.add(what)
            hint = "it waits for one that does: a newer worker, or one that has this actor"
            log.warning("job.put_off", source=self._source.name, unknown=what, hint=hint)
