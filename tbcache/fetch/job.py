"""What the pipeline is asked for, and how it is loaded: all that it knows of either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from tbcache.admission import Grant, Settled, Settlement
from tbcache.models import Failure, Keyed, Origin
from tbcache.models.price import NOTHING, Bill
from tbcache.settings import Source

T = TypeVar("T")


@dataclass(slots=True)
class Attempt:
    """Where a load stands, for whoever settles it, however it ends.

    ``grant`` has the slot in hand; ``bill`` is what it costs that has not been billed yet, or may cost while
    nobody knows; ``sent`` counts the requests.
    """

    grant: Grant
    bill: Bill = NOTHING
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A value as it was loaded, and how its load is to be settled: with the slot of its last page.

    An empty settlement says that nothing was sent for it. ``facts`` go to the log.
    """

    value: T
    grant: Grant
    settlement: Settlement
    facts: Mapping[str, object] = field(default_factory=dict)


class Answered(NamedTuple, Generic[T]):
    """A value, where it comes from, and why an old one could not be refreshed."""

    value: T
    origin: Origin
    failure: Failure | None = None


class Derived(NamedTuple, Generic[T]):
    """An answer that was made of a timeline, its JSON, and what goes to the database of it."""

    value: T
    payload: bytes
    answer: bytes | None


class Job(Protocol[T]):
    """One thing that is asked for."""

    @property
    def source(self) -> Source: ...

    @property
    def request(self) -> Keyed: ...

    @property
    def names(self) -> Mapping[str, str]:
        """What its lines in the log call it by."""

    def read(self, payload: bytes) -> T:
        """The value that an entry's payload is.

        Raises:
          DecodeError: it is none, or damaged.
        """

    def kept(self, value: T, payload: bytes) -> object:
        """What the memory of the process keeps of a value: nothing that a caller may change."""

    async def derive(self, line: bytes) -> Derived[T] | None:
        """The answer that the timeline ``line`` gives; None where there is none to be made of it."""

    async def load(self, attempt: Attempt) -> Loaded[T]:
        """Ask the upstream, with the slot that is held, and note in ``attempt`` how far that has come.
        Nothing is settled.

        Raises:
          UpstreamError: there is no value. TooLate: nothing was sent.
        """

    def settled(self, loaded: Loaded[T], where: Settled) -> None:
        """Take note of where the value went."""
