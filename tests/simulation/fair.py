"""Whether callers get their parts of what a source's queue hands out, each by its weight."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tbcache.queue.script import JobAsk
from tbcache.store.key import Keys
from tbcache.testing.simulated.keyspace import Keyspace
from tests.simulation.scripts import Call

#: Who comes begins a thousandth of a job behind those who are there; in jobs.
SLACK = 0.2


class Looking(Protocol):
    """What the checks ask of the oracle that they belong to."""

    keys: Keys
    keyspace: Keyspace
    broken: Callable[[str, str], None]


class Fairness:
    """Of the interactive lane of one queue.

    Start-time fair queueing promises: of any two callers who have jobs waiting all the time, what each was
    given in that time, by its weight, differs by less than a job of each.
    """

    def __init__(self, oracle: Looking, queue: str, weights: Mapping[str, float]) -> None:
        self._oracle, self._weights = oracle, weights
        self._lane = oracle.keys.queue(queue, "interactive").encode()
        self._caller: dict[str, str] = {}
        #: Jobs that were handed out, and are not put off since.
        self._given: set[str] = set()
        self._served: Counter[str] = Counter()
        #: Of two callers that wait: what each was given before both did so.
        self._since: dict[tuple[str, str], tuple[int, int]] = {}

    def enqueued(self, who: str, call: Call, found: Any) -> None:
        for queued in found[: len(call.arguments["asks"]) // len(JobAsk._fields)]:
            if queued.state == "queued":
                self._caller[queued.id] = call.text("caller")
        self._note()

    def finished(self, said: list[str], claims: list[str]) -> None:
        """What became of jobs: those that are put off have another turn."""
        for what, claim in zip(said, claims, strict=True):
            if what == "later":
                self._given.discard(claim.rpartition("/")[0])
        self._note()

    def dequeued(self, who: str, call: Call, found: Any) -> None:
        ids = [job.claim.decode().rpartition("/")[0] for job in found.jobs]
        ids = [id for id in ids if id in self._caller]
        left = self._waiting() + Counter(self._caller[id] for id in ids)
        for id in ids:
            left[self._caller[id]] -= 1
            # One that is given back had its turn.
            if id not in self._given:
                self._served[self._caller[id]] += 1
                for (one, other), (before, beside) in self._since.items():
                    self._check(one, self._served[one] - before, other, self._served[other] - beside)
            self._given.add(id)
            # Who has nothing waiting any more has no part in what the same reply gives to others.
            self._since = {pair: at for pair, at in self._since.items() if left[pair[0]] and left[pair[1]]}
        self._note()

    def _check(self, one: str, given: int, other: str, beside: int) -> None:
        weight, its = self._weights.get(one, 1.0), self._weights.get(other, 1.0)
        if abs(given / weight - beside / its) > 1 / weight + 1 / its + SLACK:
            self._oracle.broken(
                "fair", f"{one} (weight {weight:g}) was given {given}, and {other} ({its:g}) {beside}"
            )

    def _waiting(self) -> Counter[str]:
        """How many jobs of each caller wait."""
        ids = [one.decode() for one in self._oracle.keyspace.do("ZRANGE", [self._lane, b"0", b"-1"])]
        return Counter(self._caller[id] for id in ids if id in self._caller)

    def _note(self) -> None:
        """Who waits now; of those who do so since now, what they were given before."""
        self._since = {
            pair: self._since.get(pair, (self._served[pair[0]], self._served[pair[1]]))
            for pair in itertools.combinations(sorted(self._waiting()), 2)
        }
