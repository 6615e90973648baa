"""What can be done to a source, to a queue, and to a caller."""

from __future__ import annotations

from collections.abc import Mapping

from tbcache.api.page.verb import Doing, Verb
from tbcache.models import Limit
from tbcache.models.error import InvalidRequest

_WHY = {"why": "Why (for the others)"}
_LIMITS = {"limits": "Limits, like 60/1m,1000/1d", **_WHY}


def _ask_pause(do: Doing) -> str:
    return f"Send nothing to {do.source} until it is resumed? What is in the cache is given out as before."


def _pause(do: Doing) -> str:
    return f"{do.operator.pause(do.source, do.why)}."


def _ask_drain(do: Doing) -> str:
    return f"Accept nothing new for {do.source} until it is resumed? What is queued is done."


def _drain(do: Doing) -> str:
    found = do.operator.drain(do.source, do.why)
    return f"{found}." if found.is_done else f"{found}. Resume it first."


def _ask_resume(do: Doing) -> str:
    order = next((one.order for one in do.fleet.status().all_queues if one.name == do.source), None)
    stands = f" It is {order.since_when}." if order else ""
    return f"Have {do.source} go on?{stands}"


def _resume(do: Doing) -> str:
    return f"{do.operator.resume(do.source)}."


def _ask_limits(do: Doing) -> str:
    source = do.status_of(do.source)
    now = " and ".join(one.limit for one in source.limits) if source else "its own"
    return (
        f"Which limits shall hold for {do.source} beside its own? It goes by {now}; the strictest of each "
        "window is in force, so nothing is raised."
    )


def _set_limits(do: Doing) -> str:
    return f"{do.operator.set_limits(do.source, Limit.parse_all(do.field('limits')), do.why)}."


def _ask_unset(do: Doing) -> str:
    return f"Take back the limits that were set for {do.source}?"


def _unset_limits(do: Doing) -> str:
    return f"{do.operator.unset_limits(do.source)}."


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


def _weight(do: Doing) -> float:
    try:
        return float(do.field("weight"))
    except ValueError:
        raise InvalidRequest("a weight is a number from 0.001 to 1000") from None


def _ask_weight(do: Doing) -> str:
    return (
        f"Which weight shall {do.field('caller')} have? With 2 it gets twice as much of every queue as a "
        "caller of 1, of what is queued from now on."
    )


def _set_weight(do: Doing) -> str:
    caller, weight = do.field("caller"), _weight(do)
    do.operator.set_weight(caller, weight, do.why)
    return f"{caller} has the weight {weight:g}, for what is queued from now on."


def _ask_unweight(do: Doing) -> str:
    return f"Take back the weight of {do.field('caller')}? Then that of the settings holds, else 1."


def _unset_weight(do: Doing) -> str:
    caller = do.field("caller")
    before = do.operator.unset_weight(caller)
    return f"{caller} has the weight of its settings again." if before else f"No weight of {caller} was set."


_WEIGHT = {"weight": "Weight, 0.001 to 1000", "why": "Why (for the others)"}

VERBS: Mapping[str, Verb] = {
    "pause": Verb("Pause", "tbcache queue pause {source}", _ask_pause, _pause, _WHY),
    "drain": Verb("Drain", "tbcache queue drain {source}", _ask_drain, _drain, _WHY),
    "resume": Verb("Resume", "tbcache queue resume {source}", _ask_resume, _resume),
    "limits": Verb("Set limits", "tbcache limits set {source} {limits}", _ask_limits, _set_limits, _LIMITS),
    "unset": Verb("Unset limits", "tbcache limits unset {source}", _ask_unset, _unset_limits),
    "reopen": Verb("Reopen", "tbcache limits reopen {source}", _ask_reopen, _reopen),
    "reset": Verb("Reset limits", "tbcache limits reset {source}", _ask_reset, _reset),
    "weight": Verb("Set weight", "tbcache queue weight {caller} {weight}", _ask_weight, _set_weight, _WEIGHT),
    "unweight": Verb("Unset weight", "tbcache queue weight {caller} --unset", _ask_unweight, _unset_weight),
}
