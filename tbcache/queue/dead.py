"""Dead letters: jobs that will not be done. They can be looked through, queued again, and forgotten.

Ten thousand of a queue are kept, the last ones. All is done in chunks of a bounded size, so that nobody else
waits for Redis meanwhile; what is added or taken away in between is seen by some of it, and not by all.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tbcache.io import run
from tbcache.models.error import InvalidRequest
from tbcache.models.untrusted import quoted
from tbcache.queue.account import caller_name
from tbcache.queue.batch import put_all
from tbcache.queue.filter import Filter
from tbcache.queue.job import DeadLetter
from tbcache.queue.reason import DeathCount, count_reasons, has_reason
from tbcache.queue.script import PURGE, JobAsk, Purge, queue_keys
from tbcache.queue.wants import Wants
from tbcache.queue.weight import weights_of
from tbcache.settings import Settings, get_sources
from tbcache.store import Store
from tbcache.store.reply import pairs
from tbcache.store.retry import Retry
from tbcache.store.wire import to_micros, to_time

#: So many letters are read, queued or forgotten in one call.
CHUNK = 200
#: So many reasons are read in one call.
READ = 1_000


def silently(done: int) -> None:
    """Say nothing of what is done."""


@dataclass(frozen=True, slots=True)
class DeadFilter(Filter):
    """Which dead letters are meant. ``error`` is any part of the reason, in any case; ``*`` is any text."""

    error: str | None = None

    def matches(self, letter: DeadLetter) -> bool:
        """Whether the letter is meant, whenever it died."""
        return (
            self._is_of(letter.symbol, letter.caller or "")
            and (self.job_id is None or letter.job_id == self.job_id)
            and (self.error is None or has_reason(letter.reason, self.error))
        )


class LetterMark(NamedTuple):
    """A place in the list of dead letters: that of a letter, which may be gone by now."""

    queue: str
    died_us: int
    job_id: str

    @classmethod
    def of(cls, letter: DeadLetter) -> LetterMark:
        return cls(letter.queue, to_micros(letter.died_at.timestamp()), letter.job_id)

    @classmethod
    def read(cls, text: str) -> LetterMark:
        """
        Raises:
          InvalidRequest: it is none.
        """
        queue, died, job_id = (*text.split(":", 2), "", "")[:3]
        if not (queue and died.isdecimal() and died.isascii() and len(died) < 20):
            raise InvalidRequest(f"after {quoted(text)}: it should be as the answer's `Link` has it")
        return cls(queue, int(died), job_id)

    def __str__(self) -> str:
        return f"{self.queue}:{self.died_us}:{self.job_id}"


class Requeued(NamedTuple):
    """How many jobs wait again, and how many stayed dead: their messages cannot be read, or their source
    answers no such fetch any more."""

    queued: int
    left: int


class DeadLetters:
    """The dead letters of any queue."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings

    def search(
        self,
        queue: str,
        where: DeadFilter = DeadFilter(),
        most: int = 10,
        after: LetterMark | None = None,
    ) -> list[DeadLetter]:
        """Those that are meant, the last first; at most ``most``, and only those that come ``after`` one."""
        return list(itertools.islice(self._letters(queue, where, after), most))

    def count(self, queue: str, where: DeadFilter = DeadFilter()) -> int:
        """How many are meant."""
        if where.is_all:
            key = self._store.keys.queue(queue, "dead")
            return int(self._store.call("ZCOUNT", key, "-inf", _until(where)))
        return sum(1 for _ in self._letters(queue, where))

    def reasons(self, queue: str, most: int = 10) -> list[DeathCount]:
        """Of what most died, and how many of each; at most ``most`` reasons."""
        key, reasons = self._store.keys.queue(queue, "reasons"), list[str]()
        for ids in chunks(self._ids(queue, DeadFilter()), READ):
            found = self._store.call("HMGET", key, *ids)
            reasons += [_text(one) for one in found if one is not None]
        return count_reasons(queue, reasons, most)

    def purge(
        self, queue: str, where: DeadFilter = DeadFilter(), tell: Callable[[int], object] = silently
    ) -> int:
        """Forget those that are meant; how many. ``tell`` is told after each call how many it was of."""
        retry, count = Retry(), 0
        ids: Sequence[bytes | str] = (
            retry.read(lambda: self._ids(queue, where))
            if where.is_all
            else [one.job_id for one in self._letters(queue, where, read=retry.read)]
        )
        for chunk in chunks(ids):
            count += retry.write(functools.partial(self._forget, queue, tuple(chunk)))
            tell(len(chunk))
        return count

    def _forget(self, queue: str, ids: tuple[bytes | str, ...], may_be_done: bool) -> int:
        found = self._store.run(PURGE, Purge(queue_keys(self._store.keys, queue), ids))
        # Those that a try without an answer has forgotten are among the dead no more.
        return len(ids) if may_be_done else found

    def requeue(
        self, queue: str, where: DeadFilter = DeadFilter(), tell: Callable[[int], object] = silently
    ) -> Requeued:
        """Queue those that are meant again, by the ids that they had: the first to die is the first to go.
        One whose fetch is queued by then joins that. ``tell`` is told after each call how many it has queued.

        Raises:
          RedisUnreachable: there is no queue without Redis. Paused: an operator drains the queue.
        """
        retry, left, groups = Retry(), 0, dict[Wants, list[JobAsk]]()
        died: dict[str, int] = {}
        for letter in reversed(list(self._letters(queue, where, read=retry.read))):
            again = self._again(letter)
            if again is None:
                left += 1
            else:
                groups.setdefault(again[0], []).append(again[1])
                died[letter.job_id] = LetterMark.of(letter).died_us
        queued = 0
        for wants, asks in groups.items():
            for chunk in chunks(asks):
                more = self._put_surely(retry, queue, chunk, wants, died)
                queued += more
                tell(more)
        return Requeued(queued, left)

    def _put_surely(
        self, retry: Retry, queue: str, asks: Sequence[JobAsk], wants: Wants, died: Mapping[str, int]
    ) -> int:
        tries = itertools.count()

        def put(_: bool) -> int:
            # What is long goes in several calls, and any of an earlier try may have been carried out.
            dead = self._still_dead(queue, asks, died) if next(tries) else asks
            found = run(put_all(self._store, queue, dead, wants))
            return len(asks) - len(dead) + sum(one.state != "gone" for one in found)

        return retry.write(put)

    def _still_dead(self, queue: str, asks: Sequence[JobAsk], died: Mapping[str, int]) -> list[JobAsk]:
        """Those that no earlier try has queued: the others are dead no more, or died anew."""
        key = self._store.keys.queue(queue, "dead")
        stamps = self._store.call("ZMSCORE", key, *(one.id for one in asks))
        return [one for one, at in zip(asks, stamps, strict=True) if at and float(at) <= died[one.id] + 1]

    def _again(self, letter: DeadLetter) -> tuple[Wants, JobAsk] | None:
        """How the job of a letter is queued again; None where it cannot be."""
        message, asked = letter.anew(), letter.asked()
        if message is None:
            return None
        account = run(
            weights_of(self._store).account(caller_name(letter.caller, self._settings), self._settings)
        )
        source = get_sources(self._settings).get(letter.queue)
        charge = source.charge if source is not None else "fetch"
        if asked is None:
            wants = Wants(account, charge=charge, is_requeued=True)
            return None if letter.is_fetch else (wants, JobAsk(letter.job_id, message, letter.call_key))
        request, lane, needed = asked
        if source is not None and request.hours > source.max_hours:
            return None
        wants = Wants(account, lane, needed=needed, charge=charge, is_requeued=True)
        return wants, JobAsk(letter.job_id, message, request.key)

    def _letters(
        self,
        queue: str,
        where: DeadFilter,
        after: LetterMark | None = None,
        read: Callable[[Callable[[], Any]], Any] = lambda call: call(),
    ) -> Iterator[DeadLetter]:
        """Those that are meant, the last first."""
        keys = [self._store.keys.queue(queue, part) for part in ("dead", "reasons", "dead-jobs")]
        for ids in chunks(read(lambda: self._ids(queue, where, after))):
            asks = [("ZMSCORE", keys[0], *ids), *(("HMGET", part, *ids) for part in keys[1:])]
            stamps, reasons, texts = read(functools.partial(self._store.change, *asks))
            for job_id, stamp, reason, text in zip(ids, stamps, reasons, texts, strict=True):
                if stamp is None:
                    continue
                letter = DeadLetter(queue, _text(job_id), to_time(float(stamp)), _text(reason), text or b"")
                if where.matches(letter):
                    yield letter

    def _ids(self, queue: str, where: DeadFilter, after: LetterMark | None = None) -> list[bytes]:
        """All ids of the time that is meant, the last to die first, or those that come ``after`` one."""
        key = self._store.keys.queue(queue, "dead")
        if after is None:
            return list(reversed(self._store.call("ZRANGE", key, "-inf", _until(where), "BYSCORE")))
        # Those of one moment are in the order of their ids.
        last = after.died_us, after.job_id.encode()
        found = self._store.call("ZRANGE", key, after.died_us, "-inf", "BYSCORE", "REV", "WITHSCORES")
        return [job_id for job_id, stamp in pairs(found) if (int(float(stamp)), job_id) < last]


def chunks(ids: Sequence[Any], size: int = CHUNK) -> Iterator[Sequence[Any]]:
    """Parts of a list, each of as many as one call is about."""
    return (ids[at : at + size] for at in range(0, len(ids), size))


def _until(where: DeadFilter) -> float:
    """Until when those that are meant have died (us)."""
    return math.inf if where.until is None else to_micros(where.until.timestamp())


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")
