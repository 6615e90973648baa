"""The scripts of a source's window of slots; the files in ``tbcache/lua`` say what each does.

Moments and spans are in microseconds (``_us``), and moments are by the server's clock. ``seen_before`` is
what Redis last replied to the process as ``seen`` (epoch.py).
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from tbcache.limiter.ask import NOTHING, Given, Late, SlotScript, WindowKeys
from tbcache.store.reply import flag, nothing, number, one_of, record
from tbcache.store.script import Key, Script
from tbcache.store.wire import MICROS, Seen, read_seen

SeenReply = Annotated[Seen, read_seen]


#: Which limits hold beside those that are asked about: those of the fleet, those that an operator has set, or
#: none.
Beside = Literal["fleet", "bound", "nothing"]


class Take(NamedTuple):
    """Take a slot, or look whether one could be taken."""

    window: WindowKeys
    limits: str
    is_take: bool
    id: str
    cost: int
    held_us: int
    asked_us: int
    deadline_us: int
    seen_before: str
    patience_us: int
    process: str
    beside: Beside


class Taken(NamedTuple):
    """Whether there is a slot, and the figures of the tightest limit."""

    now: int
    is_allowed: bool
    limit: int
    span: int
    used: int
    others: int
    retry_at: int
    code: str
    reason: bytes
    seen: SeenReply
    start: int
    present_us: int


class Beat(NamedTuple):
    """Say that this process is there, and learn its part of the limits."""

    window: WindowKeys
    limits: str
    process: str
    going_by: str
    asked_us: int
    deadline_us: int
    forget_us: int
    allowances: str
    can_fall_back: bool
    seen_before: str
    epoch: str
    hold_us: int
    silence_us: int


class Allotted(NamedTuple):
    """The reply to a beat: the part of the limits that this process is allotted."""

    now: int
    share: float
    fair: float
    allowances: str
    limits: str
    processes: int
    seen: SeenReply
    closed_until: int
    reason: str
    paused: str
    present_us: int
    absent: tuple[str, ...]
    is_whole: bool
    left_us: int
    bound: str
    hold_us: int


class Summarize(NamedTuple):
    """Learn whether a beat would tell anything new; summary.lua has the three keys of each source."""

    windows: tuple[Key, ...]
    process: str
    seen: tuple[int, ...]


class Summed(NamedTuple):
    """The server's time, and for each source all that a beat would tell; "" where a beat is wanted anyhow."""

    now: int
    summaries: tuple[bytes, ...]


class Leave(NamedTuple):
    """A process has ended."""

    state: Key
    fleet: Key
    process: str
    is_clean: bool
    hold_us: int
    gone_in_us: int
    asked_us: int
    deadline_us: int


class Left(NamedTuple):
    """Its share is reserved until then (us); 0 where the process is forgotten."""

    reserved_until: int


class Restore(NamedTuple):
    """Put back the slots that this process took while Redis was away, or that Redis lost."""

    window: WindowKeys
    back: Key
    horizon: int
    process: str
    seen_before: str
    seen_ago_us: int
    epoch: str
    hold_us: int
    whole: str
    members: int
    left_us: int
    census_age_us: int
    asked_us: int
    deadline_us: int
    is_member: bool
    going_by: str
    allowances: str
    taken: tuple[str | int, ...]


class Restored(NamedTuple):
    """The slots are in the window."""

    now: int
    seen: SeenReply


class Lose(NamedTuple):
    """The server's clock was set, so every stamp of the window is wrong by as much.

    False where the clock was set once more since, and nothing was done.
    """

    window: WindowKeys
    step_us: int
    ago_us: int
    known: str
    earliest_us: int
    latest_us: int
    epoch: str


class Fill(NamedTuple):
    """Ask what this process may spend of the day's budget while Redis is away (millionths of a dollar)."""

    window: WindowKeys
    usage: Key
    purses: Key
    process: str
    budget: int
    slot_price: int
    going_by: int


class Commit(NamedTuple):
    """The answer to what was sent with a held slot has come."""

    slots: Key
    id: str
    cost: int
    asked_us: int


class Release(NamedTuple):
    """Give a slot back with which nothing was sent."""

    slots: Key
    id: str
    cost: int


class Reopen(NamedTuple):
    """Open a closed source again. True where it was closed."""

    state: Key


def _taken(ask: Take, reply: Taken) -> Given:
    if not (ask.is_take and reply.is_allowed):
        return NOTHING
    starts_in = (reply.start - reply.now) / MICROS
    present = reply.present_us / MICROS
    return Given([ask.id], starts_in, ask.held_us / MICROS, cost=ask.cost, present=present)


TAKE: SlotScript[Take, Taken] = SlotScript("take", Take, one_of(Taken, Late), _taken)
BEAT: SlotScript[Beat, Allotted] = SlotScript("beat", Beat, one_of(Allotted, Late))
RESTORE: SlotScript[Restore, Restored] = SlotScript("restore", Restore, one_of(Restored, Late))
SUMMARY = Script("summary", Summarize, record(Summed))
LEAVE: Script[Leave, Left | Late] = Script("leave", Leave, one_of(Left, Late))
LOSE = Script("lose", Lose, flag)
FILL = Script("purse", Fill, number)
COMMIT = Script("commit", Commit, nothing)
RELEASE = Script("release", Release, nothing)
REOPEN = Script("reopen", Reopen, flag)
