"""The kinds of troubles that a fleet may have, for programs."""

from __future__ import annotations

from typing import Literal, get_args

#: While Redis cannot be used, nothing but that is known.
ServerTrouble = Literal["redis_away", "redis_refuses"]
FleetTrouble = Literal[
    "other_layout",
    "rights_missing",
    "unwatched",
    "no_worker",
    "no_scheduler",
    "lost",
    "script_broken",
    "keys_refused",
    "closed",
    "paused",
    "failing",
    "budget",
    "prewarm_budget",
    "unserved",
    "backlog",
    "plan",
    "dead_letters",
    "drift",
]
TroubleKind = ServerTrouble | FleetTrouble

#: Of these something is held up, or over, and gets no worse while nobody does anything.
HELD_UP: tuple[TroubleKind, ...] = (
    "paused",
    "budget",
    "prewarm_budget",
    "backlog",
    "plan",
    "dead_letters",
    "drift",
)
SERVER_KINDS: tuple[str, ...] = get_args(ServerTrouble)
KINDS: tuple[str, ...] = (*SERVER_KINDS, *get_args(FleetTrouble))
