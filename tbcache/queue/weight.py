"""The weights of callers: those of the settings, and before them those that an operator has set."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import NamedTuple

from tbcache.io import now
from tbcache.models.caller import check_caller
from tbcache.models.error import InvalidRequest
from tbcache.queue.account import Account, account_for
from tbcache.settings import Settings
from tbcache.settings.caller import LEAST_WEIGHT, MOST_WEIGHT
from tbcache.store import Store, Unavailable
from tbcache.store.said import ORDERED, TAKEN_BACK, Ordered, Said, read_said
from tbcache.store.script import Key, Script


class GiveWeight(NamedTuple):
    """Set the weight of a caller, or take back what was set (``-``); ``since`` 0 for from now on."""

    weights: Key
    caller: str
    weight: str
    since: int
    who: str
    why: str


_WEIGHT = Script("weight", GiveWeight, ORDERED)

#: So old may be what a process knows of them.
READ_SECONDS = 0.5


def weights_of(store: Store) -> Weights:
    """The weights of ``store``, of which there is one."""
    return store.beside(Weights)


class Weights:
    """What an operator has set, as this process has read it last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._set: dict[str, float] = {}
        self._read_at = -math.inf
        #: By what was read last: each job that is sent asks for one.
        self._accounts: dict[str, Account] = {}

    @property
    def hold_until(self) -> float:
        """Until when accounts are by what is known (monotonic)."""
        return self._read_at + READ_SECONDS

    async def account(self, name: str, settings: Settings) -> Account:
        """The account of the caller ``name``. Where Redis is away, by what was read before."""
        if now() >= self.hold_until:
            self._read_at = now()
            with contextlib.suppress(Unavailable):
                self._set = await self.read()
            self._accounts = {}
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = account_for(name, {**settings.caller_weights, **self._set})
        return account

    async def read(self) -> dict[str, float]:
        """What is set."""
        found = await self._store.command("HGETALL", self._store.keys.weights)
        return dict(_sound(zip(found[::2], found[1::2], strict=True)))


async def give_weight(store: Store, caller: str, said: Said) -> Ordered:
    """Have a caller have the weight that is said, or none."""
    call = GiveWeight(store.keys.weights, caller, said.value, said.since, said.who, said.why)
    return await store.ask(_WEIGHT, call)


def read_weight(text: bytes | None) -> Said | None:
    """What is said of a caller; None where that is damaged. Releases before wrote the weight alone."""
    said = read_said(text) or Said((text or b"").decode(errors="replace"), 1, "?")
    if said.value == TAKEN_BACK:
        return said
    with contextlib.suppress(InvalidRequest, ValueError):
        check_weight(float(said.value))
        return said
    return None


def _sound(pairs: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[str, float]]:
    """What is damaged is left out."""
    for name, text in pairs:
        said = read_weight(text)
        if said is not None and said.value != TAKEN_BACK:
            with contextlib.suppress(InvalidRequest):
                yield check_caller(name.decode(errors="replace")), float(said.value)


def check_weight(weight: float) -> float:
    """
    Raises:
      InvalidRequest: it is no weight.
    """
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise InvalidRequest(f"a weight is {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}, and not {weight:g}")
    return weight
