"""An ask for slots: what is wanted, how the script is called, and what its reply gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from tbcache.models import Limit
from tbcache.store.reply import Reply
from tbcache.store.script import Key, Script

C = TypeVar("C", bound=tuple[Any, ...])
R = TypeVar("R")


class WindowKeys(NamedTuple):
    """The keys of a source's window, see state.lua."""

    slots: Key
    state: Key
    fleet: Key


class Late(NamedTuple):
    """The ask's deadline has passed, and nothing was done."""

    now: int


class Want(NamedTuple):
    """What an ask may take of a source: ``cost`` slots at most, under the name ``slot``, which tells the ask
    from others. The slots count in ``limits``. ``can_fall_back``: were Redis away, the process would go on
    without it; False for what the queue gives. ``joins``: Redis must know of the process before."""

    source: str
    slot: str
    cost: int
    limits: tuple[Limit, ...] = ()
    can_fall_back: bool = True
    joins: bool = True


class Terms(NamedTuple):
    """The part of a call that says who asks. ``deadline_us`` is of the server's time; ``seen_before`` is what
    the process was last replied as ``seen``."""

    window: WindowKeys
    deadline_us: int
    seen_before: str
    process: str


class Given(NamedTuple):
    """What a reply says of this process's slots, each id standing for as many as one of them costs.

    ``granted`` are to be used in ``starts_in`` seconds, and count as sent ``held_seconds`` after that;
    ``released`` were held and are not any more. ``spent`` slots were counted that are over already.
    """

    granted: Sequence[str] = ()
    starts_in: float = 0.0
    held_seconds: float = 0.0
    released: Sequence[str] = ()
    spent: int = 0
    cost: int = 1


NOTHING = Given()


class Replied(NamedTuple, Generic[R]):
    """A reply. What was granted may be used from ``starts_at`` on, which is never before ``asked_at``;
    both are of the monotonic clock."""

    reply: R
    asked_at: float
    starts_at: float


class SlotScript(Script[C, Any], Generic[C, R]):
    """A script by which slots are taken; :class:`Late` is a reply of each that has a deadline.

    ``given`` reads in a call and its reply what of it concerns the slots of this process.
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
