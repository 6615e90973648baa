"""What must hold of what operators say, whatever Redis loses, and whoever knows what.

What was said later is never undone by what was said before, and what was said is not lost as long as a
process lives that knows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Protocol

from tbcache.fleet.standing import Thing
from tbcache.store.key import Keys
from tbcache.store.said import read_said
from tbcache.testing.simulated.keyspace import Keyspace
from tests.simulation.scripts import Call

#: By thing: which saying of it, counted in the order in which they were said.
Turns = dict[Thing, int]


class Looking(Protocol):
    """What the checks ask of the oracle that they belong to."""

    keys: Keys
    source: Any
    keyspace: Keyspace
    broken: Callable[[str, str], None]


class Orders:
    """Those of one world."""

    def __init__(self, oracle: Looking) -> None:
        self._oracle, self._numbers = oracle, itertools.count(1)
        #: By the number that a saying has in Redis.
        self._turns: dict[tuple[Thing, int], int] = {}
        #: By process: what it knows.
        self._known: dict[str, Turns] = {}

    def said(self, who: str, call: Call, found: Any) -> None:
        """A saying came to Redis: a new one, or one that was said before."""
        name = call.text("caller") if call.script.name == "weight" else self._oracle.source.name
        thing = Thing(call.script.name, name)  # type: ignore[arg-type]
        if call.number("since") == 0:
            said = read_said(found.stands)
            if said is not None:
                self._turns[thing, said.since] = next(self._numbers)
        before, stands = self._turn(thing, found.before), self._turn(thing, found.stands)
        if stands < before or not stands:
            self._oracle.broken("orders", f"{who} undoes {found.before!r} with {found.stands!r}")

    def stand(self) -> Turns:
        """What stands in Redis now."""
        do, keys, source = self._oracle.keyspace.do, self._oracle.keys, self._oracle.source.name
        order, bound = do("HMGET", [keys.state(source).encode(), b"order", b"bound"])
        texts = {Thing("order", source): order, Thing("bound", source): bound}
        weights = do("HGETALL", [keys.weights.encode()])
        for caller, text in zip(weights[::2], weights[1::2], strict=True):
            texts[Thing("weight", caller.decode())] = text
        return {thing: self._turn(thing, text) for thing, text in texts.items()}

    def learn(self, who: str, turns: Turns) -> None:
        """A process knows this by now."""
        self._known[who] = _latest(self._known.get(who, {}), turns)

    def acknowledge(self, who: str, thing: Thing, text: bytes) -> None:
        """A process was told that this stands."""
        self.learn(who, {thing: self._turn(thing, text)})

    def known(self, who: str) -> Turns:
        """What stands once that process has looked."""
        return _latest(self.stand(), self._known.get(who, {}))

    def check(self, expected: Turns) -> None:
        """All of that stands, or something later."""
        stand = self.stand()
        lost = {thing: turn for thing, turn in expected.items() if stand.get(thing, 0) < turn}
        if lost:
            self._oracle.broken("orders", f"lost: {lost}, and there is {stand}")

    def _turn(self, thing: Thing, text: bytes | None) -> int:
        said = read_said(text)
        return self._turns.get((thing, said.since), 0) if said else 0


def _latest(*several: Turns) -> Turns:
    return {thing: max(turns.get(thing, 0) for turns in several) for thing in set().union(*several)}
