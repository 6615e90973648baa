"""The heartbeat of a process: what it says of itself each second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

import msgspec

#: The roles of processes that may take slots, and those that have a share of the limits from the first beat
#: on, for while Redis is away; an API has one once it has fetched something.
SHARING_ROLES = {"worker", "client"}
FETCHING_ROLES = {*SHARING_ROLES, "api"}
#: Bots and commands come and go all day, and nobody misses them. One that comes again is heard of once it
#: fetches.
PASSING = "client"


@dataclass(frozen=True, slots=True)
class Workload:
    """What a process does at the moment: its threads, the busy ones, the jobs in hand.

    ``serves`` are the sources whose jobs a worker takes; None where it does not say. ``pace`` says of each
    queue for how many seconds one of its jobs has a thread, on average; 0.0 where none has run yet. ``fires``
    says when a scheduler does each of its works next.
    """

    threads: int = 0
    busy: int = 0
    doing: tuple[str, ...] = ()
    serves: tuple[str, ...] | None = None
    pace: Mapping[str, float] = field(default_factory=dict)
    fires: Mapping[str, datetime] = field(default_factory=dict)


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
_Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Heartbeat(msgspec.Struct, frozen=True):
    """What a process says of itself each second."""

    role: str
    pid: _Count
    host: str
    threads: _Count
    busy: _Count
    doing: tuple[str, ...]
    started_at: _Moment
    beat_at: _Moment
    # 0.1.0 says nothing of these.
    version: str = "0.1.0"
    layout: int = 1
    profile: msgspec.Raw = msgspec.Raw(b"null")
    refused: msgspec.Raw = msgspec.Raw(b"{}")
    pace: dict[str, _Seconds] = {}
    # Earlier versions say nothing of these.
    memory_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**50)] = 0
    fires: dict[str, _Moment] = {}
