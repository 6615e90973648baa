"""What can be done to a caller: how much of every queue it gets."""

from __future__ import annotations

from collections.abc import Mapping

from tbcache.api.page.verb import Doing, Verb
from tbcache.models.error import InvalidRequest


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
    was_set = do.operator.unset_weight(caller)
    return f"{caller} has the weight of its settings again." if was_set else f"No weight of {caller} was set."


_WEIGHT = {"weight": "Weight, 0.001 to 1000", "why": "Why (for the others)"}

VERBS: Mapping[str, Verb] = {
    "weight": Verb("Set weight", "tbcache queue weight {caller} {weight}", _ask_weight, _set_weight, _WEIGHT),
    "unweight": Verb("Unset weight", "tbcache queue weight {caller} --unset", _ask_unweight, _unset_weight),
}
