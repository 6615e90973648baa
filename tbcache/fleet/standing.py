"""What operators have said stands on, where Redis has lost it.

Each saying stands where it is in force: orders and limits in the state of a source or a queue, weights in
one hash. The processes that stand by to watch the fleet read all of it every few seconds, and keep the
latest saying of each thing in mind. Where that is later than what Redis has, Redis was emptied, or is back
from an old file. Then the process says it again, which changes nothing where somebody has said something
later (said.lua).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from tbcache.fleet.audit import Audit
from tbcache.io import run
from tbcache.io.fork import renew_in_child
from tbcache.io.log import get_logger
from tbcache.queue.weight import give_weight, read_weight
from tbcache.settings import get_declared, source_names
from tbcache.store import Refused, Store
from tbcache.store.name import Names
from tbcache.store.order import ORDERS, RESUME, give_order, set_bound
from tbcache.store.reply import pairs
from tbcache.store.said import TAKEN_BACK, Ordered, Said, read_said
from tbcache.store.wire import MICROS, read_limits

log = get_logger("tbcache.fleet")

Kind = Literal["order", "bound", "weight"]

#: Who says it again, in the audit.
WHO = "tbcache"
#: For how long the key stands in which an order, or limits, are (state.lua).
PAST = timedelta(days=32)
_SAY: dict[Kind, Callable[[Store, str, Said], Coroutine[Any, Any, Ordered]]] = {
    "order": give_order,
    "bound": set_bound,
    "weight": give_weight,
}


class Thing(NamedTuple):
    """What is said: the order of a source or a queue, the limits of a source, or the weight of a caller."""

    kind: Kind
    name: str


class Standing:
    """What stands, as far as this process has said or read it: one for each store (:func:`standing_of`).

    While Redis is away it raises Unavailable.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._audit = store, Audit(store)
        self._sources, self._queues = Names(store), Names(store, store.keys.queues)
        self._known: dict[Thing, Said] = {}
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Let no thread that a forked child does not have hold it up."""
        self._lock = threading.Lock()

    def say(self, thing: Thing, said: Said) -> Ordered:
        """Say it; once more, where it has a number by now."""
        if thing.kind == "order" and thing.name not in self._own_names():
            # By these names the others know where to look; who may not write them says it all the same.
            with contextlib.suppress(Refused):
                self._queues.tell(thing.name)
        found = run(_SAY[thing.kind](self._store, thing.name, said))
        self._remember(thing, _read(thing, found.stands))
        return found

    def look(self) -> None:
        """Read what stands; where Redis has lost it, say it again."""
        found = self._read_all()
        for thing, said in found.items():
            self._remember(thing, said)
        for thing, said in self._known.copy().items():
            stood = found.get(thing)
            if (stood is None and not self._is_past(said)) or (
                stood is not None and stood.since < said.since
            ):
                # Of several processes that know it one says it.
                with contextlib.suppress(Refused):
                    self._say_again(thing, said)

    def _is_past(self, said: Said) -> bool:
        """True where it has taken back what no Redis has any more: else it would be written again each
        time that it expires."""
        since = self._store.clock.today - PAST
        return _in_force(said) is None and said.since < since.timestamp() * MICROS

    def _remember(self, thing: Thing, said: Said | None) -> None:
        with self._lock:
            known = self._known.get(thing)
            if said is not None and (known is None or known.since < said.since):
                self._known[thing] = said

    def _read_all(self) -> Mapping[Thing, Said]:
        keys, names = self._store.keys, sorted(self._names())
        asks = (("HMGET", keys.state(name), "order", "bound") for name in names)
        weights, *states = self._store.execute(("HGETALL", keys.weights), *asks)
        found = {Thing("weight", caller.decode(errors="replace")): text for caller, text in pairs(weights)}
        for name, state in zip(names, states, strict=True):
            if isinstance(state, list):
                found |= {Thing("order", name): state[0], Thing("bound", name): state[1]}
        return {thing: said for thing, text in found.items() if (said := _read(thing, text)) is not None}

    def _names(self) -> set[str]:
        """All of which an order, or limits, may stand."""
        known = {thing.name for thing in self._known.copy() if thing.kind != "weight"}
        names = known | self._own_names()
        # Who may not read these names, or finds them damaged, sees to the rest.
        with contextlib.suppress(Refused):
            names.update(self._sources.all(), self._queues.all())
        return names

    def _own_names(self) -> set[str]:
        """The sources that this process knows without Redis."""
        return {*source_names(self._store.settings), *get_declared()}

    def _say_again(self, thing: Thing, said: Said) -> None:
        found = self.say(thing, said)
        is_said = _read(thing, found.stands) == said
        if is_said and _in_force(_read(thing, found.before)) != _in_force(said):
            what = act(thing, said.value)
            log.warning("order.said_again", what=what, target=thing.name, reason="Redis had lost it")
            self._audit.write(WHO, what, thing.name, f"of {said.who}", why="Redis had lost it")


def standing_of(store: Store) -> Standing:
    """What stands in ``store``, as far as this process knows it."""
    return store.beside(Standing)


def act(thing: Thing, value: str) -> str:
    """What the audit calls it to say so of a thing."""
    if thing.kind == "order":
        return f"queue.{value}"
    is_taken_back = value == TAKEN_BACK
    if thing.kind == "bound":
        return "limits.unset" if is_taken_back else "limits.set"
    return "caller.unweight" if is_taken_back else "caller.weight"


def _read(thing: Thing, text: bytes | None) -> Said | None:
    """What is said of a thing; None for what makes no sense, whoever may have written it."""
    said = read_weight(text) if thing.kind == "weight" else read_said(text)
    if said is None or said.value == TAKEN_BACK:
        return said
    if thing.kind == "order":
        return said if said.value in ORDERS else None
    return said if thing.kind == "weight" or read_limits(said.value) else None


def _in_force(said: Said | None) -> str | None:
    return None if said is None or said.value in (RESUME, TAKEN_BACK) else said.value
