"""The scripts of the cache: who loads a key, and what a clear hides."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from tbcache.store.reply import flag, nothing, number, one_of, text
from tbcache.store.script import Key, Script

#: The name of a key as Redis gives it, which may be no text.
FoundKey = Annotated[bytes, "key"]


class BeginLoad(NamedTuple):
    """May this process load the value of a key?"""

    entry: Key
    lease: Key
    token: str
    lease_us: int
    birth: int
    cleared: int


class PresentReply(NamedTuple):
    """There is a value by now."""


class LeasedReply(NamedTuple):
    """The lease is the asker's."""

    generation: bytes


class LoadingReply(NamedTuple):
    """Another loads it."""

    holder: str
    left_us: int


class EndLoad(NamedTuple):
    """The end of a load. True when its value is in Redis."""

    entry: Key
    lease: Key
    woken: Key
    token: str
    generation: bytes
    value: bytes
    ttl_ms: int


class ClearPattern(NamedTuple):
    """Hide what matches a pattern; the log as it is now."""

    log: Key
    cleared: str


class Compact(NamedTuple):
    """Take lines of a log off it: what they hid has been removed."""

    log: Key
    swept: tuple[str, ...]


class Drop(NamedTuple):
    """Have the jobs that load these keys, which were removed, serve nobody who asks later. Each has the
    ``pending`` of its source's queue."""

    pendings: tuple[Key, ...]
    fetches: tuple[str, ...]


class Sweep(NamedTuple):
    """Remove what is older than a clear; how many went."""

    pending: FoundKey
    names: tuple[FoundKey, ...]
    kind: Literal["cache", "lease"]
    sequences: tuple[int, ...]


BEGIN_LOAD: Script[BeginLoad, PresentReply | LeasedReply | LoadingReply] = Script(
    "begin_load", BeginLoad, one_of(PresentReply, LeasedReply, LoadingReply)
)
END_LOAD = Script("end_load", EndLoad, flag)
CLEAR = Script("clear", ClearPattern, text)
COMPACT = Script("compact", Compact, nothing)
SWEEP = Script("sweep", Sweep, number)
DROP = Script("drop", Drop, nothing)
