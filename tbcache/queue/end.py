"""The ends of jobs, as Redis is told of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from tbcache.limiter import limiter_of
from tbcache.models.untrusted import LINE, printable
from tbcache.queue.account import caller_in
from tbcache.queue.hand import EndedJob, Hand, HeldJob
from tbcache.queue.job import Finish, encode_result
from tbcache.queue.log import say_end
from tbcache.queue.script import FINISH, FinishJobs, QueueKeys, slot_of
from tbcache.settings import Source
from tbcache.store import Store, Unavailable
from tbcache.store.script import Argument
from tbcache.store.wire import to_micros

MOST_TRIES = 4
#: Is told of a source, and of the caller whose job of it has died after its last try.
OnUnanswered = Callable[[str, str | None], object]
#: The ends of so many jobs are told in one call, at most.
MOST_ENDS = 64


class Ends:
    """Tells Redis what became of the jobs of one queue that this process has in hand."""

    def __init__(
        self,
        store: Store,
        keys: QueueKeys,
        hand: Hand,
        source: Source,
        on_unanswered: OnUnanswered,
        on_unused: Callable[[], object],
    ) -> None:
        """``on_unused`` is called where a job is over that has not used its slot: the next may have that."""
        self._store, self._keys, self._hand = store, keys, hand
        self._on_unanswered, self._on_unused = on_unanswered, on_unused
        self._name, self._cost = source.name, source.cost if source.limits else 0
        self._window = limiter_of(store).process_window(source.name)

    def end(
        self, claim: bytes, finish: Finish, job: HeldJob | None = None, *, has_failed: bool = False
    ) -> None:
        """The job is in hand no longer; see :class:`EndedJob`. What became of it is said later where Redis is
        away, and so is the line of the log."""
        used = self._hand.used_by(claim) if finish.is_begun else 0
        if used:
            self._window.commit(slot_of(claim), used)
        self._hand.unsaid.append(EndedJob(claim, finish, used, job, has_failed))
        self._hand.drop(claim)
        with contextlib.suppress(Unavailable):
            self.say()

    def say(self) -> None:
        """Say what became of jobs; what comes meanwhile goes along with the next call of whoever says it.

        Raises:
          Unavailable: Redis is away; it is said later.
        """
        hand = self._hand
        # Asked again once the lock is free: who found it taken has left what it had to say.
        while hand.unsaid and hand.saying.acquire(blocking=False):
            try:
                self._say_some()
            finally:
                hand.saying.release()

    def _say_some(self) -> None:
        unsaid = self._hand.unsaid
        ends = [unsaid.popleft() for _ in range(min(len(unsaid), MOST_ENDS))]
        try:
            became = self._say(ends)
        except BaseException:
            unsaid.extendleft(one._replace(is_again=True) for one in reversed(ends))
            raise
        for one, what in zip(ends, became, strict=True):
            if one.job is not None and one.job.is_begun:
                is_known = what != "gone" or not one.is_again
                say_end(one.job, one.finish, what if is_known else one.finish.what, self._name)

    def _say(self, ends: Sequence[EndedJob]) -> Sequence[str]:
        """Tell Redis; what was done of each, see finish.lua."""
        arguments = tuple(part for one in ends for part in _arguments(one, self._cost))
        slots, asked_us = self._store.keys.slots(self._name), self._store.clock.asked_us(self._name)
        finish_jobs = FinishJobs(self._keys, slots, MOST_TRIES, asked_us, arguments)
        became, is_unused = self._store.run(FINISH, finish_jobs), False
        for (claim, finish, _, job, has_failed, _), what in zip(ends, became, strict=True):
            if has_failed and what == "dead":
                self._on_unanswered(self._name, None if job is None else caller_in(job.options))
            if not finish.is_begun:
                self._window.release(slot_of(claim), self._cost)
                is_unused = is_unused or what in ("done", "dead")
        if is_unused and self._cost:
            self._on_unused()
        return became


def _arguments(ended: EndedJob, cost: int) -> list[Argument]:
    """What finish.lua is told of a job."""
    claim, finish, used, *_ = ended
    return [
        claim,
        finish.what,
        encode_result(finish.result) if finish.result is not None else b"",
        to_micros(finish.delay_seconds),
        int(finish.is_try),
        0 if finish.is_begun else cost,
        printable(finish.reason, LINE),
        used,
        finish.message,
    ]
