"""What must hold, looked at after each command that the server carries out.

The checks know only what is promised, not how it is done: they keep a small model of their own, and look at
what is in Redis where the promise is about that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError

from tbcache.admission.script import GoReply, SettledReply, TurnedReply
from tbcache.cache.script import LeasedReply
from tbcache.limiter.script import LOSE, Taken
from tbcache.models import Limit
from tbcache.queue.script import JobAsk, queued_of
from tbcache.store.codec import DecodeError, decode_sentiment
from tbcache.store.glob import compile_glob
from tbcache.store.key import Keys
from tbcache.store.order import Bound, Order, read_bound, read_order
from tbcache.testing.simulated.kernel import MICROS
from tbcache.testing.simulated.keyspace import Keyspace
from tests.simulation.fair import Fairness
from tests.simulation.job import END_PARTS, Jobs
from tests.simulation.leader import Leaders
from tests.simulation.order import Orders
from tests.simulation.scripts import Call, Scripts
from tests.simulation.upstream import load_of

#: A queue that no source paces.
PLAIN = "plain"
ROUNDING = 1e-6
ABSENT_US = 450_000
SLACK_US = 2 * MICROS


@dataclass(slots=True)
class Lease:
    """Who loads a key by Redis's word."""

    token: str
    until: int
    process: str
    #: The last clear that it knew of, of those that say so.
    since: int = 0


class Oracle:
    """Follows what the server does."""

    def __init__(
        self,
        keys: Keys,
        source: Any,
        keyspace: Keyspace,
        now_us: Callable[[], int],
        elapsed_us: Callable[[], int],
        hold_seconds: float,
        broken: Callable[[str, str], None],
        is_shown: Callable[[str], bool] = lambda process: False,
    ) -> None:
        """``now_us`` is the server's time, and ``elapsed_us`` the world's, however the server's clock is set.
        ``is_shown``: whether a process is there, and its worker shows that to Redis."""
        self.keys, self.source, self.keyspace, self.now_us, self.broken = (
            keys,
            source,
            keyspace,
            now_us,
            broken,
        )
        self._scripts = Scripts()
        #: The clock was set; and nobody has said so since it was last.
        self.is_clock_set = self.is_step_unsaid = False
        self._start_us, self._elapsed_us = now_us(), elapsed_us
        longest = max(limit.window_seconds for limit in source.limits)
        self._mending_us = round((longest + hold_seconds) * MICROS) + SLACK_US
        self.has_lost = False
        #: From when on Redis knows again all that it has lost, at the latest (us of the world).
        self._mended_us = 0
        #: The last loss that Redis has noted, and since when it is not made good (us of the world).
        self._loss, self._shut_us = "", 0
        #: How many commands were carried out.
        self.count = 0
        #: Clears that are over: how many commands had been carried out before and after, the pattern, whose.
        self.clears: list[tuple[int, int, str, str]] = []
        self.leases: dict[str, Lease] = {}
        self.is_shown = is_shown
        #: By the key of its jobs: the source's queue, and the one that no source paces.
        self.queues = {keys.queue(name, "jobs"): Jobs(self, name) for name in (source.name, PLAIN)}
        self.jobs, self.plain = self.queues.values()
        self.leaders = Leaders(self)
        self.orders = Orders(self)
        #: In worlds that are about that.
        self.fairness: Fairness | None = None
        #: Loads whose values were refused, as their leases were not their own any more.
        self.refused: set[int] = set()
        #: Slots whose requests may still be on their way: they are held until their leases are over.
        self.interrupted: set[str] = set()
        self._looks: dict[str, Callable[[str, Call, Any], None]] = {
            "admit": self._admit,
            "turn": self._turn,
            "take": self._take,
            "settle": self._settle,
            "begin_load": self._load,
            "end_load": self._keep,
            "beat": self._beat,
            "enqueue": self._enqueue,
            "send": self._send,
            "dequeue": self._dequeue,
            "finish": self._finish,
            "cancel": lambda who, call, found: self._jobs_of(call).cancelled(who, call, found),
            "promote": lambda who, call, found: self._jobs_of(call).promoted(who, call, found),
            "purge": lambda who, call, found: self._jobs_of(call).purged(who, call, found),
            "lead": self.leaders.led,
            "fence": self.leaders.fenced,
            "incident": self.leaders.told,
            "order": self.orders.said,
            "bound": self.orders.said,
            "weight": self.orders.said,
            "clear": self._clear,
            "sweep": self._sweep,
            "drop": lambda who, call, found: self.jobs.dropped(call.arguments["fetches"]),
        }

    def lose(self, kept: int | None = None) -> None:
        """Redis has lost data: what was known by it is known no more; what it has got back is as it was after
        so many commands (``kept``)."""
        if kept is not None:
            # With a clear that it has lost it has got back the values of before.
            self.clears = [clear for clear in self.clears if clear[1] <= kept]
        self.has_lost = True
        self._mend()
        self.leases.clear()
        self.leaders.lose()
        for jobs in self.queues.values():
            jobs.lose()

    def _mend(self) -> None:
        """Whoever knows what was lost tells it from now on."""
        self._mended_us = self._elapsed_us() + self._mending_us

    def set_clock(self) -> None:
        """The server's clock was set: what was to end at some moment may be over, or not."""
        if self._elapsed_us() < self._mended_us:
            # So is a loss noted anew that is not made good yet (lose.lua).
            self._mend()
        self.leases.clear()
        self.leaders.set_clock()
        for jobs in self.queues.values():
            jobs.set_clock()
        self.is_clock_set = self.is_step_unsaid = True

    def hear(self, who: str, command: tuple[bytes, ...], answer: Any) -> str:
        """Look at a command; what it was, in words for a trace."""
        self.count += 1
        call = self._scripts.read(command)
        if call is None:
            if command[0] == b"UNLINK":
                # What is deleted is loaded anew.
                for key in command[1:]:
                    self.leases.pop(key.decode(), None)
            return " ".join(part[:30].decode(errors="replace") for part in command[:6])
        if isinstance(answer, Exception):
            if not isinstance(answer, NoScriptError):
                self.broken("script", f"{call.script.name} of {who} is refused: {answer}")
        else:
            self.is_step_unsaid = self.is_step_unsaid and call.script is not LOSE
            look = self._looks.get(call.script.name)
            if look is not None:
                look(who, call, call.script.read(answer))
        return str(call)

    # Slots

    def _granted(self, who: str, call: Call, start: int) -> None:
        """A slot was given: there must have been one."""
        now, state = self.now_us(), self.keys.state(self.source.name)
        closed_until = self._number("HGET", state, "closed_until")
        if closed_until > max(now, start):
            self.broken("closed", f"{who} was granted a slot while the source is closed ({call.script.name})")
        order, bound = self._operated()
        if order is not None and order.what == "pause":
            self.broken("paused", f"{who} was granted a slot while the source is paused ({call.script.name})")
        for limit in (*self.source.limits, *map(Limit.parse, bound.limits if bound is not None else ())):
            since = start - round(limit.window_seconds * MICROS)
            taken = self._number("ZCOUNT", self.keys.slots(self.source.name), f"({since}", "+inf")
            if taken > limit.count:
                self.broken("slots", f"{taken} of {limit.count} slots in a window as {who} is granted one")

    def _operated(self) -> tuple[Order | None, Bound | None]:
        state = self._hash(self.keys.state(self.source.name))
        return read_order(state.get("order", "").encode()), read_bound(state.get("bound", "").encode())

    @property
    def bound(self) -> Bound | None:
        """The limits that an operator has set, as Redis has them."""
        return self._operated()[1]

    def _take(self, who: str, call: Call, found: Any) -> None:
        if isinstance(found, Taken) and found.is_allowed and call.arguments["is_take"]:
            self._granted(who, call, found.start)

    def _turn(self, who: str, call: Call, found: Any) -> None:
        if not isinstance(found, TurnedReply):
            return
        self._granted(who, call, found.now)
        lease = self.leases.get(call.text("lease"))
        if lease is not None and lease.token == call.text("token"):
            lease.until = found.now + call.number("hold_us")

    def _beat(self, who: str, call: Call, found: Any) -> None:
        if type(found).__name__ != "Allotted":
            return
        source = self.source.name
        fleet = self.keyspace.do("ZRANGE", [self.keys.fleet(source).encode(), b"0", b"-1", b"WITHSCORES"])
        state = self._hash(self.keys.state(source))
        self._check_shut(found, state)
        heard = {name.decode(): float(at) for name, at in zip(fleet[::2], fleet[1::2], strict=True)}
        shares = {name: float(state.get(f"share:{name}", 0) or 0) for name in heard}
        # After a loss Redis may know larger ones than their processes go by, until these have told it.
        is_mended = self._elapsed_us() > self._mended_us
        if is_mended and sum(shares.values()) > 1 + ROUNDING * len(shares):
            self.broken("shares", f"the shares add up to {sum(shares.values()):.6f}: {shares}")
        silence = {name: int(state.get(f"silence:{name}", ABSENT_US)) for name in heard}
        silent = {
            name
            for name, at in heard.items()
            if at < found.now - silence[name] and name != call.text("process")
        }
        given = _allowances(found.allowances)
        for limit in self.source.limits:
            span = round(limit.window_seconds * MICROS)
            since = found.now - span
            taken = self._number("ZCOUNT", self.keys.slots(source), f"({since}", "+inf")
            kept = sum(math.floor(limit.count * shares[one] + ROUNDING) for one in silent)
            others = sum(
                _allowances(state.get(f"rooms:{one}", "")).get(span, 0)
                for one in heard
                if one not in silent and one != call.text("process")
            )
            if given.get(span, 0) > max(0, limit.count - taken - kept - others):
                self.broken(
                    "allowances",
                    f"{who} may take {given[span]} alone of {limit.count}: {taken} are taken, {kept} kept "
                    f"for the absent, {others} for others",
                )

    def _check_shut(self, found: Any, state: dict[str, str]) -> None:
        """A loss that is noticed is made good within a window and a hold: until then the source is shut."""
        loss, now = state.get("lost_at", ""), self._elapsed_us()
        if found.is_whole or loss != self._loss or self.is_step_unsaid:
            self._loss, self._shut_us = loss, now
        elif now > self._shut_us + self._mending_us:
            self.broken("shut", f"for {(now - self._shut_us) / MICROS:.3f} s, since one loss: {state}")

    # Loads

    def _admit(self, who: str, call: Call, found: Any) -> None:
        if isinstance(found, GoReply):
            if not call.arguments["is_held"]:
                self._granted(who, call, found.start)
            self._begin_load(who, call, found)

    def _load(self, who: str, call: Call, found: Any) -> None:
        key, now, known = call.text("lease"), self.now_us(), self.leases.get(call.text("lease"))
        if not isinstance(found, LeasedReply):
            return
        # What was begun by one who did not know of a clear yet comes from before it.
        if known is not None and known.until > now and known.since >= call.number("cleared"):
            self.broken("one load", f"{who} may load {key} while {known.process} does")
        self.leases[key] = Lease(call.text("token"), now + call.number("lease_us"), who, call.number("birth"))

    def _keep(self, who: str, call: Call, _: bool) -> None:
        lease = self.leases.get(call.text("lease"))
        if lease is not None and lease.token == call.text("token"):
            del self.leases[call.text("lease")]

    def _begin_load(self, who: str, call: Call, found: Any) -> None:
        key, token = call.text("lease"), call.text("id")
        known = self.leases.get(key)
        is_heir = (
            known is not None and "/" in token and known.token.startswith(token.rpartition("/")[0] + "/")
        )
        if known is not None and known.token != token and known.until > found.now and not is_heir:
            self.broken("one load", f"{who} may load {key} while {known.process} does")
        self.leases[key] = Lease(token, found.start + call.number("hold_us"), who)

    def _settle(self, who: str, call: Call, found: Any) -> None:
        if not isinstance(found, SettledReply):
            return
        if call.arguments["kind"] == b"interrupted":
            self.interrupted.add(call.text("id"))
        key, token = call.text("lease"), call.text("token")
        lease = self.leases.get(key)
        if found.is_stored and lease is not None and lease.token != token:
            self.broken(
                "fencing", f"{who} stored a value of {key} with a lease that is {lease.process}'s by now"
            )
        if not found.is_stored and call.arguments["kind"] == b"value":
            self.refused.add(_load_of(call.arguments["payload"]))
        if lease is not None and lease.token == token:
            del self.leases[key]
        if call.number("closed_until") != 0:
            until = self._number("HGET", self.keys.state(self.source.name), "closed_until")
            if until < max(found.now, call.number("closed_until")):
                self.broken("closed", f"the upstream said stop to {who}, and Redis does not know it")

    def _clear(self, who: str, call: Call, log: str) -> None:
        if call.text("log") == self.keys.clears(self.source.name):
            self.jobs.cleared_us = int(log[:16])
        matching = compile_glob(call.text("cleared"))
        for key in list(self.leases):
            if matching.fullmatch(self.keys.key_of(key).encode()):
                del self.leases[key]

    def _sweep(self, who: str, call: Call, _: Any) -> None:
        for name in call.arguments["names"]:
            self.leases.pop(name.decode(), None)

    def is_cleared(self, key: str, began: int, asked: int, by: str | None = None) -> bool:
        """Whether a value of ``key`` is gone, by anyone or that process: when its load began, and when it was
        asked for, in commands that had been carried out."""
        return any(
            began <= before and after <= asked and compile_glob(pattern).fullmatch(key.encode())
            for before, after, pattern, who in self.clears
            if by in (None, who)
        )

    # Jobs, and who leads

    def _enqueue(self, who: str, call: Call, replied: Any) -> None:
        ids = [id.decode() for id in call.arguments["asks"][:: len(JobAsk._fields)]]
        found = queued_of(ids, replied)
        for queued in found:
            if queued.state == "queued":
                self._check_drained(who, call, queued.id)
        self.leaders.enqueued(who, call, found)
        self._jobs_of(call).enqueued(who, call, found)
        if self.fairness is not None:
            self.fairness.enqueued(who, call, found)

    def _send(self, who: str, call: Call, found: bytes) -> None:
        """One job that is no fetch; where there is no id, it is left to ENQUEUE."""
        if not found:
            return
        id = found.decode()
        self._check_drained(who, call, id)
        self._jobs_of(call).sent(who, id)

    def _check_drained(self, who: str, call: Call, id: str) -> None:
        order = self._operated()[0]
        if order is not None and order.what == "drain" and self._jobs_of(call) is self.jobs:
            self.broken("drained", f"{who} has queued {id}, and nothing new is accepted")

    def _dequeue(self, who: str, call: Call, found: Any) -> None:
        self._jobs_of(call).dequeued(who, call, found)
        if self.fairness is not None:
            self.fairness.dequeued(who, call, found)
        for job in found.jobs:
            if job.is_held:
                self._granted(who, call, found.now)

    def _finish(self, who: str, call: Call, found: Any) -> None:
        self._jobs_of(call).finished(who, call, found)
        if self.fairness is not None:
            claims = [one.decode() for one in call.arguments["ends"][::END_PARTS]]
            self.fairness.finished(found, claims)

    def _jobs_of(self, call: Call) -> Jobs:
        """The jobs of the queue that a script is about."""
        return self.queues[call.text("jobs")]

    @property
    def open_jobs(self) -> dict[str, str]:
        """Those of all queues."""
        return {id: key for jobs in self.queues.values() for id, key in jobs.open.items()}

    def taken(self, ids: list[str]) -> list[str]:
        """Of these names the slots that are in the window."""
        found = self.keyspace.do("ZRANGE", [self.keys.slots(self.source.name).encode(), b"0", b"-1"])
        return [slot for slot in map(bytes.decode, found) if slot.partition("#")[0] in ids]

    def last_seen_at(self, member: str) -> float | None:
        """When Redis last took note of a process (s of the world); None where that cannot be said."""
        noted = self._number("ZSCORE", self.keys.fleet(self.source.name), member)
        return (noted - self._start_us) / MICROS if noted and not self.is_clock_set else None

    def silence_of(self, member: str) -> float:
        """For how long a process may be silent by Redis before it counts as absent (s); 0.0 where that may be
        from before a loss of data."""
        state = self.keys.state(self.source.name)
        return 0.0 if self.has_lost else self._number("HGET", state, f"silence:{member}") / MICROS

    # What is in Redis

    def _number(self, *command: str) -> int:
        name, *arguments = command
        return int(float(self.keyspace.do(name, [one.encode() for one in arguments]) or 0))

    def _hash(self, key: str) -> dict[str, str]:
        found = self.keyspace.do("HGETALL", [key.encode()])
        return {
            name.decode(): value.decode(errors="replace")
            for name, value in zip(found[::2], found[1::2], strict=True)
        }


def _load_of(payload: bytes) -> int:
    """The number of the load that an answer comes from, be it a sentiment or a function's value."""
    try:
        return load_of(decode_sentiment(payload).score)
    except DecodeError:
        return int(json.loads(payload)["v"])


def _allowances(text: str) -> dict[int, int]:
    """``COUNT:SPAN=ROOM,...`` by its span, as an operator may have set another count."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {int(limit.partition(":")[2]): int(allowance) for limit, _, allowance in pairs}
