"""What must hold of leases that one process holds at a time, and of what their holders write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tests.simulation.scripts import Call


class Looking(Protocol):
    """What the checks ask of the oracle that they belong to."""

    now_us: Callable[[], int]
    broken: Callable[[str, str], None]
    is_clock_set: bool


@dataclass(slots=True)
class Held:
    """A lease: who has it, with which token, until when (us)."""

    who: str
    token: int
    until: int


class Leaders:
    """Those of all leases, by their keys; after a loss of data, anew."""

    def __init__(self, oracle: Looking) -> None:
        self._oracle = oracle
        self._held: dict[str, Held] = {}
        #: By lease: the highest token that anybody was given.
        self._highest: dict[str, int] = {}
        #: By the queue's key that says so: the token below which nothing is accepted.
        self._fences: dict[str, int] = {}

    def lose(self) -> None:
        """What Redis knew it knows no more, or it knows what it had known before."""
        self._held.clear()
        self._fences.clear()
        self._highest.clear()

    set_clock = lose

    def led(self, who: str, call: Call, token: int) -> None:
        key, now, lease_us = call.text("lease"), self._oracle.now_us(), 1000 * call.number("lease_ms")
        held = self._held.get(key)
        is_theirs = held is not None and held.who == call.text("name")
        if lease_us == 0:
            if is_theirs:
                del self._held[key]
            return
        if not token:
            if held is None or held.until <= now:
                # A key lives on within the millisecond in which it ends.
                self._check_free(who, key, now, held)
            return
        if held is not None and not is_theirs and held.until > now:
            self._oracle.broken("one leader", f"{who} leads while {held.who} does ({key})")
        if held is not None and is_theirs and held.until > now and token < held.token:
            self._oracle.broken("one leader", f"{who} has the token {token}, and had {held.token} ({key})")
        if not (is_theirs and held is not None and token == held.token):
            if token <= self._highest.get(key, 0):
                self._oracle.broken(
                    "tokens", f"{who} leads by the token {token}, which is no new one ({key})"
                )
            self._highest[key] = token
        self._held[key] = Held(call.text("name"), token, now + lease_us)

    def _check_free(self, who: str, key: str, now: int, held: Held | None) -> None:
        if held is not None and held.until < now - 2000:
            self._oracle.broken("one leader", f"{who} may not lead, though nobody does ({key})")

    def fenced(self, who: str, call: Call, later: int) -> None:
        fence, token = call.text("fence"), call.number("token")
        if not later and token < self._fences.get(fence, 0):
            self._oracle.broken("fenced", f"{who} leads by {token}, and another by {self._fences[fence]}")
        self._fences[fence] = max(token, self._fences.get(fence, 0))

    def enqueued(self, who: str, call: Call, found: Any) -> None:
        """Nothing is accepted of a leader that another has followed."""
        token = call.number("token")
        if not token:
            return
        fence = call.text("fence")
        accepted = [one.id for one in found if one.state != "fenced"]
        if accepted and token < self._fences.get(fence, 0):
            self._oracle.broken("fenced", f"{who} queued {accepted} as the leader that it was")
        if accepted:
            self._fences[fence] = max(token, self._fences.get(fence, 0))

    def told(self, who: str, call: Call, is_kept: bool) -> None:
        """What a watcher found is kept only while it is the one that watches."""
        held = self._held.get(call.text("lease"))
        if is_kept and held is not None and held.token != call.number("token"):
            self._oracle.broken("fenced", f"{who} wrote incidents, and {held.who} watches")
