"""What must hold of the jobs of one queue, looked at after each command that the server carries out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tbcache.queue.script import JobAsk
from tbcache.store.key import Keys
from tbcache.testing.simulated.kernel import MICROS
from tbcache.testing.simulated.keyspace import Keyspace
from tests.simulation.scripts import Call

#: So many arguments tell finish.lua of a job.
END_PARTS = 9
#: Two moments are the same within so many seconds: they travel as numbers of seconds.
NEARLY = 1e-3


class Looking(Protocol):
    """What the checks ask of the oracle that they belong to."""

    keys: Keys
    keyspace: Keyspace
    now_us: Callable[[], int]
    broken: Callable[[str, str], None]
    #: Whether a process is there, and a worker of it shows that to Redis.
    is_shown: Callable[[str], bool]
    is_clock_set: bool


class Jobs:
    """Those of one queue: a small model of what was accepted, who has it in hand, and how it ended."""

    def __init__(self, oracle: Looking, queue: str) -> None:
        self._oracle, self._queue = oracle, queue
        #: Jobs that were accepted and are not over: id -> fetch key.
        self.open: dict[str, str] = {}
        #: How jobs ended: "done" | "dead" | "cancelled".
        self.ended: dict[str, str] = {}
        #: Claims in force: job -> claim; until when each holds by Redis, and as its worker has renewed it.
        self.claims: dict[str, str] = {}
        self.claims_until: dict[str, int] = {}
        self.renewed_until: dict[str, int] = {}
        #: Who was given each claim, and when (us).
        self.given: dict[str, tuple[str, int]] = {}
        #: Jobs that died, or were cancelled, at some time: who waits for one is told so.
        self.refused: set[str] = set()
        #: Before which moment (us) a job is not to be tried again.
        self.due: dict[str, int] = {}
        #: Claims whose jobs a worker has run to their end.
        self.ran: set[str] = set()
        #: After which moment (s) the load of a job must begin, as it was asked for last.
        self.wanted: dict[str, float] = {}
        #: When something of the source was cleared last, and each key removed (us): what had begun by then is
        #: not stored.
        self.cleared_us = 0
        self.removed_us: dict[str, int] = {}
        #: Claims of jobs that were cancelled while they ran: their workers are to stop them.
        self.stopping: set[str] = set()
        #: Until when the slot of each claim is held, as its worker has renewed it (us); and those whose
        #: worker stood still or was away for longer: no limit is kept for what it sends then.
        self._slots_until: dict[str, int] = {}
        self.lapsed: set[str] = set()
        #: Claims whose try was counted as a failure of its caller's.
        self.failures: set[str] = set()
        #: How many jobs have died after their last try, and of how many a worker has counted that.
        self._died = self._counted_deaths = 0

    def lose(self) -> None:
        """Redis has lost data: what was known by it is known no more; what it has got back is as it was."""
        self.claims.clear()
        self.stopping.clear()
        self.renewed_until.clear()
        self.wanted.clear()
        self.due.clear()
        self.removed_us.clear()
        self.cleared_us = 0
        jobs, keys = self._hash("jobs"), self._hash("keys")
        self.open = {id: keys.get(id, "") for id in jobs}
        for id in self.open:
            self.ended.pop(id, None)
        self._note_claims()

    def set_clock(self) -> None:
        """The server's clock was set: what was to end at some moment may be over, or not."""
        self.claims_until.clear()
        self.renewed_until.clear()
        self.wanted.clear()
        self.due.clear()

    def enqueued(self, who: str, call: Call, found: Any) -> None:
        asks = call.arguments["asks"]
        keys = [key.decode() for key in asks[2 :: len(JobAsk._fields)]]
        for key, queued in zip(keys, found, strict=True):
            # Nothing can be loaded after what is yet to come.
            after = min(float(call.arguments["after"] or 0), self._oracle.now_us() / MICROS)
            if queued.state == "joined":
                self._join(key, queued.id, after)
            if queued.state != "queued":
                continue
            # One more may wait for the running one to be over.
            is_particular = after or float(call.arguments["needed"] or 0) or self._is_dropped(key)
            most = 1 if is_particular else 0
            if key and list(self.open.values()).count(key) > most:
                self._broken("one job", f"{key} is queued a second time")
            self.open[queued.id] = key
            if call.number("is_requeued"):
                self.ended.pop(queued.id, None)
            if after:
                self.wanted[queued.id] = after

    def sent(self, who: str, id: str) -> None:
        if id in self.open:
            self._broken("job", f"{who} has sent {id}, which is there already")
        self.open[id] = ""

    def _join(self, key: str, id: str, after: float) -> None:
        if id not in self.open:
            self._broken("job", f"an ask for {key} joined job {id}, which is over")
        if self.open.get(id) == key and self._is_dropped(key, id):
            self._broken("missed", f"an ask for {key} joined job {id}, whose answer is not stored")
        if not after or self._oracle.is_clock_set:
            return
        self.wanted[id] = max(after, self.wanted.get(id, 0.0))
        claim = self.claims.get(id, "")
        if claim in self.claims_until and self.given[claim][1] < (after - NEARLY) * MICROS:
            self._broken("fresh after", f"an ask for {key} joined job {id}, which began too early")

    def dropped(self, fetches: list[bytes]) -> None:
        """Keys were removed from the cache."""
        self.removed_us |= {key.decode(): self._oracle.now_us() for key in fetches}

    def _is_dropped(self, key: str, *ids: str) -> bool:
        """Whether one of these jobs of a fetch, or of all where none is named, runs, and has begun before its
        key was removed."""
        if self._oracle.is_clock_set:
            return not ids
        at = max(self.cleared_us, self.removed_us.get(key, 0))
        ids = ids or tuple(id for id, its_key in self.open.items() if its_key == key)
        # Of one that Redis has got back after a loss it is not known when it began.
        return any(self.given[claim][1] <= at for id in ids for claim in self._claims_of(id))

    def dequeued(self, who: str, call: Call, found: Any) -> None:
        self._renew(who, call, found)
        held = {claim for claim in self.claims_until if self._is_held(claim, call, found.now)}
        self._note_claims()
        if taken := held.difference(self.claims_until):
            self._broken("one worker", f"{sorted(taken)} are taken from workers, as {who} asks")
        for job in found.jobs:
            claim = job.claim.decode()
            id = claim.rpartition("/")[0]
            known = self.claims.get(id)
            if known is not None and known in self.claims_until:
                self._broken("one worker", f"job {id} is given to {who} while it is in another's hands")
            if id not in self.open:
                self._broken("job", f"job {id} is given to {who}, and is over: {self.ended.get(id)}")
            self.claims[id], self.given[claim] = claim, (who, found.now)
            self._slots_until[claim] = found.now + call.number("hold_us")
            self._check_wants(id, job.message)
            if self.due.pop(id, 0) > found.now + 1000:
                self._broken("delay", f"job {id} is tried again too early")
        self._bury()

    def _is_held(self, claim: str, call: Call, now: int) -> bool:
        """Whether a claim holds: also for some time after its end, where its worker is there, or where that
        cannot be known."""
        until = max(some.get(claim, 0) for some in (self.claims_until, self.renewed_until))
        if not until or self._oracle.is_clock_set:
            return until > now
        if not call.text("present"):
            return until + call.number("claim_us") > now
        is_shown = claim in self.given and self._oracle.is_shown(self.given[claim][0])
        return until + (call.number("present_us") if is_shown else 0) > now

    def _check_wants(self, id: str, message: bytes) -> None:
        words = json.loads(message)["kwargs"]
        if self.wanted.get(id, 0.0) > words.get("after", 0.0) + NEARLY:
            self._broken("fresh after", f"job {id} is told {words}, and is to begin after {self.wanted[id]}")

    def _renew(self, who: str, call: Call, found: Any) -> None:
        """A worker says which jobs it has in hand: they are its own for as long again."""
        is_heard = bool(found.seen.epoch) or not call.text("limits")
        for claim in (one.decode() for one in call.arguments["in_hand"][::2] if is_heard):
            if claim in self.claims_until:
                self.renewed_until[claim] = found.now + call.number("claim_us")
            if self._slots_until.get(claim, found.now) < found.now:
                self.lapsed.add(claim)
            self._slots_until[claim] = found.now + call.number("hold_us")
            if claim in self.stopping and claim.encode() not in found.revoked:
                self._broken("cancelled", f"{who} is not told that the job of {claim} is cancelled")

    def finished(self, who: str, call: Call, said: list[str]) -> None:
        ends = call.arguments["ends"]
        for at, word in zip(range(0, len(ends), END_PARTS), said, strict=True):
            claim = ends[at].decode()
            id = claim.rpartition("/")[0]
            self.stopping.discard(claim)
            if word == "gone":
                continue
            self._died += word == "dead" and ends[at + 1] == b"later"
            if word == "later" and claim in self.failures:
                self._broken("failures", f"job {id} comes again, and counts as a failure of its caller's")
            if self.claims.get(id, claim) != claim:
                self._broken("fencing", f"{who} said what became of job {id}, which is in another's hands")
            if word == "done" and id in self.open:
                if claim not in self.ran:
                    self._broken("job", f"job {id} is done, and nobody has run it")
                self._end(id, "done")
            delay = int(ends[at + 3] or 0)
            if word == "later" and not self.open.get(id, ""):
                self.due[id] = self._oracle.now_us() + delay
            self.claims.pop(id, None)
        self._bury()
        self._note_claims()

    def cancelled(self, who: str, call: Call, states: Sequence[str]) -> None:
        for id, state in zip(map(bytes.decode, call.arguments["ids"]), states, strict=True):
            self._check_moved(id, state)
            if state in ("done", "stopping") and id in self.open:
                self._end(id, "cancelled")
            if state == "stopping":
                self.stopping |= self._claims_of(id)
        self._note_claims()

    def promoted(self, who: str, call: Call, found: Any) -> None:
        id = call.text("id")
        self._check_moved(id, found.state)
        self.due.pop(id, None)
        lanes = [self._members(lane) for lane in ("suspects", "interactive", "prewarm")]
        if found.state == "done" and not any(lane[:1] == [id] for lane in lanes):
            self._broken("promoted", f"job {id} is not the first of its lane")

    def _check_moved(self, id: str, state: str) -> None:
        is_held = bool(self._claims_of(id))
        if state == "gone" and id in self.open:
            self._broken("job", f"job {id} is said to be over, and is not")
        if state == "done" and is_held:
            self._broken("one worker", f"job {id} is taken away, and its worker is not told")
        if state in ("running", "stopping") and id in self.open and not is_held and not self._waits(id):
            self._broken("job", f"job {id} is said to run, and no worker has it")

    def _claims_of(self, id: str) -> set[str]:
        """Those of a job that Redis has."""
        return {claim for claim in self.claims_until if claim.rpartition("/")[0] == id}

    def _waits(self, id: str) -> bool:
        """Whether it waits for another of its fetch to be over."""
        return self._hash("pending").get(f"+{self.open[id]}") == id

    def purged(self, who: str, call: Call, _: Any) -> None:
        if left := {one.decode() for one in call.arguments["ids"]}.intersection(self._members("dead")):
            self._broken("job", f"dead letters are forgotten, and are there: {sorted(left)}")

    def count_failure(self, claim: str) -> None:
        """A worker has counted that the caller of a job has no answer."""
        if claim in self.failures:
            self._broken("failures", f"the caller of {claim} is counted as left without an answer twice")
        self.failures.add(claim)

    def count_death(self) -> None:
        """A worker has counted that the caller of a job has none after its last try."""
        self._counted_deaths += 1
        if self._counted_deaths > self._died:
            self._broken("failures", f"{self._counted_deaths} deaths are counted of {self._died}")

    def _bury(self) -> None:
        for id in self._members("dead"):
            if id in self.open:
                self._end(id, "dead")
                self.claims.pop(id, None)

    def _end(self, id: str, how: str) -> None:
        if id in self.ended:
            self._broken("job", f"job {id} ended twice: {self.ended[id]}, {how}")
        self.ended[id] = how
        if how != "done":
            self.refused.add(id)
        self.wanted.pop(id, None)
        del self.open[id]

    def _note_claims(self) -> None:
        key = self._oracle.keys.queue(self._queue, "claims").encode()
        found = self._oracle.keyspace.do("ZRANGE", [key, b"0", b"-1", b"WITHSCORES"])
        self.claims_until = {
            claim.decode(): int(float(at)) for claim, at in zip(found[::2], found[1::2], strict=True)
        }

    def _members(self, part: str) -> list[str]:
        key = self._oracle.keys.queue(self._queue, part).encode()
        return [one.decode() for one in self._oracle.keyspace.do("ZRANGE", [key, b"0", b"-1"])]

    def _hash(self, part: str) -> dict[str, str]:
        key = self._oracle.keys.queue(self._queue, part).encode()
        found = self._oracle.keyspace.do("HGETALL", [key])
        return {
            name.decode(): value.decode(errors="replace")
            for name, value in zip(found[::2], found[1::2], strict=True)
        }

    def _broken(self, promise: str, what: str) -> None:
        self._oracle.broken(promise, f"{what} ({self._queue})")
