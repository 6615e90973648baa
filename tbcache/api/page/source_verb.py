"""What can be done to a source, or a queue."""

from __future__ import annotations

from collections.abc import Mapping

from tbcache.api.page.verb import Doing, Verb
from tbcache.fleet import Order
from tbcache.models import Limit

_WHY = {"why": "Why (for the others)"}
_LIMITS = {"limits": "Limits, like 60/1m,1000/1d", **_WHY}


def _ask_pause(do: Doing) -> str:
    return f"Send nothing to {do.source} until it is resumed? What is in the cache is given out as before."


def _pause(do: Doing) -> str:
    return f"{do.source} is paused{_before(do.operator.pause(do.source, do.why))}."


def _before(order: Order | None) -> str:
    """What was said before, and holds no more: another may have said it while the question stood."""
    return f"; until now it was {order}, which is forgotten" if order else ""


def _ask_drain(do: Doing) -> str:
    return f"Accept nothing new for {do.source} until it is resumed? What is queued is done."


def _drain(do: Doing) -> str:
    return f"{do.source} is drained{_before(do.operator.drain(do.source, do.why))}."


def _ask_resume(do: Doing) -> str:
    return f"Have {do.source} go on?"


def _resume(do: Doing) -> str:
    before = do.operator.resume(do.source)
    return (
        f"{do.source} goes on; it was {before}." if before else f"{do.source} was neither paused nor drained."
    )


def _ask_limits(do: Doing) -> str:
    source = do.status_of(do.source)
    now = " and ".join(one.limit for one in source.limits) if source else "its own"
    return (
        f"Which limits shall hold for {do.source} beside its own? It goes by {now}; the strictest of each "
        "window is in force, so nothing is raised."
    )


def _set_limits(do: Doing) -> str:
    found = do.operator.set_limits(do.source, Limit.parse_all(do.field("limits")), do.why)
    before = f"; {','.join(map(str, found.before))} were set until now" if found.before else ""
    return f"The limits of {do.source} are {','.join(map(str, found.limits))}{before}."


def _ask_unset(do: Doing) -> str:
    return f"Take back the limits that were set for {do.source}?"


def _unset_limits(do: Doing) -> str:
    found = do.operator.unset_limits(do.source)
    return f"The limits of {do.source} are {','.join(map(str, found.limits))}."


def _ask_reset(do: Doing) -> str:
    return (
        f"Forget every slot of {do.source} that was used, and its closure? The upstream still counts what "
        "was sent: it may refuse, and close the source for longer."
    )


def _reset(do: Doing) -> str:
    do.operator.reset(do.source)
    return f"{do.source} counts from 0 again."


def _ask_reopen(do: Doing) -> str:
    return f"Ask {do.source} again now, though its upstream said to wait? It may refuse at once."


def _reopen(do: Doing) -> str:
    return f"{do.source} is asked again." if do.operator.reopen(do.source) else f"{do.source} was not closed."


VERBS: Mapping[str, Verb] = {
    "pause": Verb("Pause", "tbcache queue pause {source}", _ask_pause, _pause, _WHY),
    "drain": Verb("Drain", "tbcache queue drain {source}", _ask_drain, _drain, _WHY),
    "resume": Verb("Resume", "tbcache queue resume {source}", _ask_resume, _resume),
    "limits": Verb("Set limits", "tbcache limits set {source} {limits}", _ask_limits, _set_limits, _LIMITS),
    "unset": Verb("Unset limits", "tbcache limits unset {source}", _ask_unset, _unset_limits),
    "reopen": Verb("Reopen", "tbcache limits reopen {source}", _ask_reopen, _reopen),
    "reset": Verb("Reset limits", "tbcache limits reset {source}", _ask_reset, _reset),
}
