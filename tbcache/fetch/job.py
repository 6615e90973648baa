"""What the pipeline knows of a request and of how to load it: the protocol of a job, and its results."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from tbcache.admission import Grant, Merge, Merged, Settled, Settlement
from tbcache.models import Failure, Keyed, Origin
from tbcache.models.price import NOTHING, Bill
from tbcache.settings import Source

T = TypeVar("T")


@dataclass(slots=True)
class Attempt:
    """The state of a running load, from which it is settled however it ends.

    ``grant`` has the slot that is held; ``bill`` is what the requests cost and is not billed yet, and the
    most that they may cost while that is unknown; ``sent`` counts the requests.
    """

    grant: Grant
    bill: Bill = NOTHING
    sent: int = 0
    _process: int = field(default_factory=lambda: os.getpid())

    @property
    def is_ours(self) -> bool:
        """False in a child that the load has forked: the load is its parent's."""
        return self._process == os.getpid()


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A loaded value, with what is needed to settle its load: the grant of its last page, and the settlement.

    An empty settlement says that nothing was sent. ``facts`` go to the log. ``error`` is what is raised once
    that is settled, in the place of the value.
    """

    value: T
    grant: Grant
    settlement: Settlement
    facts: Mapping[str, object] = field(default_factory=dict)
    error: Exception | None = None


class Answered(NamedTuple, Generic[T]):
    """A value, where it comes from, and why an old one could not be refreshed."""

    value: T
    origin: Origin
    failure: Failure | None = None


class Derived(NamedTuple, Generic[T]):
    """An answer that was made from a timeline: its value, its JSON, and its bytes for the database."""

    value: T
    payload: bytes
    answer: bytes | None


class Job(Protocol[T]):
    """One request, and how to load what it asks for."""

    @property
    def source(self) -> Source: ...

    @property
    def request(self) -> Keyed: ...

    @property
    def names(self) -> Mapping[str, str]:
        """The fields by which the log names it."""

    def read(self, payload: bytes) -> T:
        """The value in the payload of a cache entry.

        Raises:
          DecodeError: the payload is damaged.
        """

    def kept(self, value: T, payload: bytes) -> object:
        """The form in which the process keeps a value in memory: one that no caller can change."""

    async def derive(self, packed: bytes) -> Derived[T] | None:
        """The answer that follows from the packed timeline; None where it is damaged."""

    async def merge(self, merge: Merge) -> Merged | None:
        """The timeline with what was bought of it without Redis; None where nothing is to be stored."""

    async def load(self, attempt: Attempt) -> Loaded[T]:
        """Ask the upstream with the slot that is held, and record the progress in ``attempt``.

        It settles nothing.

        Raises:
          UpstreamError: there is no value. TooLate: nothing was sent.
        """

    def settled(self, loaded: Loaded[T], where: Settled) -> None:
        """React to what became of the value: it was stored, dropped, or kept by this process alone."""
