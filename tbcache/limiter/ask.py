"""An ask for slots: what is wanted, how the script is called, and which slots its reply gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from tbcache.models import Limit
from tbcache.store.reply import Reply
from tbcache.store.script import Key, Script

#: How often an ask is made that is not carried out in time. The first may teach nothing of a clock that was
#: set, where another that was made later has its answer of before; the second does.
TRIES = 3

C = TypeVar("C", bound=tuple[Any, ...])
R = TypeVar("R")


class WindowKeys(NamedTuple):
    """The keys of a source's window, see state.lua."""

    slots: Key
    state: Key
    fleet: Key


class Late(NamedTuple):
    """The ask's deadline has passed, or the server's clock was set, and nothing was done."""

    now: int


class Want(msgspec.Struct, frozen=True):
    """What an ask may take of a source: at most ``cost`` slots, which count in ``limits``.

    ``slot`` is the name of the slots, by which this ask is told from others. ``can_fall_back``: the process
    would go on without Redis if that were away. It is False for slots that come with jobs of the queue, as
    there are no jobs without Redis. ``joins``: Redis must know of the process before the ask.
    """

    source: str
    slot: str
    cost: int
    limits: tuple[Limit, ...] = ()
    can_fall_back: bool = True
    joins: bool = True


class Terms(msgspec.Struct, frozen=True):
    """The part of a call that says who asks, and between which moments of the server's time it is carried
    out, or not at all. ``seen_before`` is what Redis last replied to the process as ``seen``; ``stay`` is the
    one that it asks in.
    """

    window: WindowKeys
    asked_us: int
    deadline_us: int
    seen_before: str
    process: str
    stay: object


class Given(msgspec.Struct, frozen=True):
    """What a reply says of this process's slots. Each id stands for ``cost`` slots.

    The ``granted`` ones may be used in ``starts_in`` seconds, and count as sent ``held_seconds`` after that
    at the latest; nobody is absent for ``present`` seconds. The ``released`` ones were held, and are so no
    longer. Besides, Redis has counted ``spent`` slots that are over already.
    """

    granted: Sequence[str] = ()
    starts_in: float = 0.0
    held_seconds: float = 0.0
    released: Sequence[str] = ()
    spent: int = 0
    cost: int = 1
    present: float = 0.0


NOTHING = Given()


class Replied(msgspec.Struct, Generic[R], frozen=True):
    """A reply. What it grants may be used from ``starts_at`` on, which is never before ``asked_at``. Where
    that was promised for later, it is so since ``promised_at``, see :meth:`Promises.is_kept`.

    All are moments of the monotonic clock.
    """

    reply: R
    asked_at: float
    starts_at: float
    promised_at: float


class SlotScript(Script[C, Any], Generic[C, R]):
    """A script that takes slots. If it has a deadline, it may reply :class:`Late`.

    ``given`` tells from a call and its reply what has become of this process's slots.
    """

    def __init__(
        self,
        name: str,
        call: type[C],
        reply: Reply[Any],
        given: Callable[[C, R], Given] = lambda call, reply: NOTHING,
    ) -> None:
        super().__init__(name, call, reply)
        self.given = given
