"""What an operator can do, each behind a question that says what it would change."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fastapi import HTTPException

from tbcache.fleet import Fleet
from tbcache.fleet.operator import DeadFilter, Operator
from tbcache.models import FetchRequest, Limit

#: The fields of the form that say on what.
Fields = Mapping[str, str]


class Doing(NamedTuple):
    """Who does it, to which fleet, and the fields of the form."""

    fleet: Fleet
    operator: Operator
    fields: Fields

    def field(self, name: str) -> str:
        """
        Raises:
          HTTPException: 422 for one that is missing.
        """
        return _field(self.fields, name)

    @property
    def source(self) -> str:
        return self.field("source")

    @property
    def why(self) -> str:
        return self.fields.get("why", "")


@dataclass(frozen=True, slots=True)
class Verb:
    """``ask`` says what would happen, and ``act`` does it and says what happened; ``command`` is its twin on
    the command line, with the fields of the form in braces. ``inputs`` are asked for with the question: each
    the name of a field, and what to say beside it."""

    label: str
    command: str
    ask: Callable[[Doing], str]
    act: Callable[[Doing], str]
    inputs: Mapping[str, str] = field(default_factory=dict)

    def twin(self, fields: Fields) -> str:
        """The command that does the same."""
        options = " --error {error}" if fields.get("error") else ""
        return (self.command + options).format_map(_Quoted(fields))


class _Quoted(dict[str, str]):
    """Fields as a shell takes them; one that is still to be asked for is its own name."""

    def __getitem__(self, name: str) -> str:
        return shlex.quote(self.get(name) or name.upper())


_WHY = {"why": "Why (for the others)"}


def _field(fields: Fields, name: str) -> str:
    if not fields.get(name):
        raise HTTPException(422, f"the form has no {name}")
    return fields[name]


def _ask_pause(do: Doing) -> str:
    return f"Send nothing to {do.source} until it is resumed? What is in the cache is given out as before."


def _pause(do: Doing) -> str:
    do.operator.pause(do.source, do.why)
    return f"{do.source} is paused."


def _ask_drain(do: Doing) -> str:
    return f"Accept nothing new for {do.source} until it is resumed? What is queued is done."


def _drain(do: Doing) -> str:
    do.operator.drain(do.source, do.why)
    return f"{do.source} is drained."


def _ask_resume(do: Doing) -> str:
    return f"Have {do.source} go on?"


def _resume(do: Doing) -> str:
    before = do.operator.resume(do.source)
    return f"{do.source} goes on." if before else f"{do.source} was neither paused nor drained."


def _ask_limits(do: Doing) -> str:
    return (
        f"Which limits shall hold for {do.source} beside its own? The strictest of each window is in force."
    )


def _set_limits(do: Doing) -> str:
    found = do.operator.set_limits(do.source, Limit.parse_all(do.field("limits")), do.why)
    return f"The limits of {do.source} are {','.join(map(str, found.limits))}."


def _ask_unset(do: Doing) -> str:
    return f"Take back the limits that were set for {do.source}?"


def _unset_limits(do: Doing) -> str:
    found = do.operator.unset_limits(do.source)
    return f"The limits of {do.source} are {','.join(map(str, found.limits))}."


def _ask_reopen(do: Doing) -> str:
    return f"Ask {do.source} again now, though its upstream said to wait? It may refuse at once."


def _reopen(do: Doing) -> str:
    return f"{do.source} is asked again." if do.operator.reopen(do.source) else f"{do.source} was not closed."


def _letters(do: Doing) -> DeadFilter:
    """The dead letters that the form is about: those of an error, or all of the queue."""
    return DeadFilter(error=do.fields.get("error") or None)


def _dead(do: Doing) -> str:
    count, error = do.operator.count_dead(do.source, _letters(do)), do.fields.get("error")
    return f"{count} dead jobs of {do.source}" + (f" whose reason has {error!r} in it" if error else "")


def _ask_requeue(do: Doing) -> str:
    return f"Queue the {_dead(do)} again?"


def _requeue(do: Doing) -> str:
    done = do.operator.requeue_dead(do.source, _letters(do))
    return f"{done.queued} dead jobs of {do.source} are queued again" + (
        f"; {done.left} stay dead, as they cannot be read." if done.left else "."
    )


def _ask_purge(do: Doing) -> str:
    return f"Forget the {_dead(do)} for good?"


def _purge(do: Doing) -> str:
    return f"{do.operator.purge_dead(do.source, _letters(do))} dead jobs of {do.source} are forgotten."


def _ask_warm(do: Doing) -> str:
    return f"Fetch {do.field('symbol')} from {do.source} now? It takes a slot, and may cost money."


def _warm(do: Doing) -> str:
    request = FetchRequest(do.source, do.field("symbol"))
    handle = do.fleet.enqueue(request, "interactive")
    word = "is queued" if handle.is_new else "was queued already"
    return f"The fetch of {request.symbol} from {request.source} {word}."


def _ask_clear(do: Doing) -> str:
    pattern = do.field("pattern")
    return f"Remove the {do.fleet.count(pattern)} cached values that match {pattern}?"


def _clear(do: Doing) -> str:
    return f"{do.operator.clear(do.field('pattern'))} cached values are removed."


_LIMITS = {"limits": "Limits, like 60/1m,1000/1d", **_WHY}

VERBS: Mapping[str, Verb] = {
    "pause": Verb("Pause", "tbcache queue pause {source}", _ask_pause, _pause, _WHY),
    "drain": Verb("Drain", "tbcache queue drain {source}", _ask_drain, _drain, _WHY),
    "resume": Verb("Resume", "tbcache queue resume {source}", _ask_resume, _resume),
    "limits": Verb("Set limits", "tbcache limits set {source} {limits}", _ask_limits, _set_limits, _LIMITS),
    "unset": Verb("Unset limits", "tbcache limits unset {source}", _ask_unset, _unset_limits),
    "reopen": Verb("Reopen", "tbcache limits reopen {source}", _ask_reopen, _reopen),
    "requeue": Verb("Queue again", "tbcache dead requeue {source}", _ask_requeue, _requeue),
    "purge": Verb("Forget", "tbcache dead purge {source}", _ask_purge, _purge),
    "warm": Verb("Fetch", "tbcache enqueue {source} {symbol}", _ask_warm, _warm),
    "clear": Verb("Clear", "tbcache cache clear {pattern}", _ask_clear, _clear),
}
