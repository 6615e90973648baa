"""Reads a job's message: whoever may write to Redis may have written it, in a newer version too."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import dramatiq
import msgspec
from dramatiq.message import get_encoder

from tbcache.models.decoder import convert
from tbcache.queue.account import caller_in
from tbcache.queue.hand import HeldJob
from tbcache.queue.job import FETCH
from tbcache.queue.script import HandedOut, job_of, slot_of

#: Options by which a message would have dramatiq hold it in memory, or end a thread.
_REFUSED_OPTIONS = {"eta", "throws"}
#: With it, dramatiq's own retries leave a fetch to the queue.
_OPTIONS_OF_FETCHES = {"max_retries": 0}


class Unreadable(Exception):
    """The message makes no sense, to any worker; its text says why."""


class Unknown(Exception):
    """The message has something that this worker does not know, and a newer one may; its text names it."""


class _Fields(msgspec.Struct, frozen=True):
    """What a message of dramatiq has."""

    queue_name: str
    actor_name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    message_id: str
    message_timestamp: int


def read_job(
    handed_out: HandedOut, queue: str, actors: Mapping[str, dramatiq.Actor[..., Any]], *, is_paced: bool
) -> HeldJob:
    """The job that was handed out, with the slot that it came with, if one did.

    Raises:
      Unreadable: no worker can read it. Unknown: this one cannot.
    """
    claim = handed_out.claim
    slot = slot_of(claim) if handed_out.is_held else None
    message = read_message(handed_out.message, queue)
    if is_paced and message.actor_name.startswith(FETCH):
        message, caller = read_fetch(message, actors), caller_in(message.options)
        options = {"slot": slot or ""} | ({"caller": caller} if caller else {})
        return HeldJob(message.copy(message_id=job_of(claim), options=options), claim, is_fetch=True)
    if is_paced:
        # In no other queue could the workers that have it be apart from those that have not.
        _check_actor(message, actors)
    job = HeldJob(message, claim, is_fetch=False)
    job.slot = slot
    return job


def read_message(data: bytes, queue: str) -> dramatiq.Message[Any]:
    """The message in ``data``, for an actor of a user's own, who checks what it is called with.

    Raises:
      Unreadable: no worker can read it. Unknown: this one cannot.
    """
    fields = _fields(data)
    if fields.queue_name != queue:
        raise Unreadable(f"its message is for the queue {fields.queue_name[:60]!r}")
    if not _is_throws(fields.options.get("throws", ())):
        del fields.options["throws"]
    return dramatiq.Message(**msgspec.structs.asdict(fields))


def read_fetch(
    message: dramatiq.Message[Any], actors: Mapping[str, dramatiq.Actor[..., Any]]
) -> dramatiq.Message[Any]:
    """``message``, which the actor that it names, one of a source's own, can be called with.

    Raises:
      Unreadable: no worker's can. Unknown: this one's cannot.
    """
    _check_actor(message, actors)
    _check_call(actors[message.actor_name].fn, message.args, message.kwargs)
    options = {name: value for name, value in message.options.items() if name not in _REFUSED_OPTIONS}
    return dataclasses.replace(message, options={**options, **_OPTIONS_OF_FETCHES})


def _check_actor(message: dramatiq.Message[Any], actors: Mapping[str, Any]) -> None:
    if message.actor_name not in actors:
        raise Unknown(f"the actor {message.actor_name[:60]!r}")


def due_ms(message: dramatiq.Message[Any]) -> float:
    """When the message may run (ms since 1970) by its own option; 0.0 where it says no moment."""
    eta = message.options.get("eta")
    return eta if isinstance(eta, int | float) and math.isfinite(eta) else 0.0


def _is_throws(value: Any) -> bool:
    """True for what ``isinstance`` takes: anything else would end the thread that runs the job."""
    kinds = value if isinstance(value, tuple) else (value,)
    return all(isinstance(one, type) for one in kinds)


def _fields(data: bytes) -> _Fields:
    try:
        found: Any = get_encoder().decode(data)
    except Exception as error:
        raise Unreadable(f"its message is no JSON: {error}"[:200]) from None
    if isinstance(found, dict):
        _check_known(found, _Fields.__struct_fields__)
    fields: _Fields = _convert(found, _Fields, "its message")
    return fields


def _check_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Whether the function could be called so, by its parameters and their types."""
    for where, name, kind in _typed(function, len(args), tuple(kwargs)):
        value = args[where] if isinstance(where, int) else kwargs[where]
        # A type that JSON knows nothing of is the actor's own to check.
        with contextlib.suppress(TypeError):
            _convert(value, kind, f"its {name}")


# A call that cannot be made raises, and is not kept.
@functools.lru_cache(maxsize=256)
def _typed(
    function: Callable[..., Any], count: int, names: tuple[str, ...]
) -> list[tuple[int | str, str, Any]]:
    """Which argument of a call, by its number or name, is which parameter of which type. The call has
    ``count`` arguments by position, and others by name.

    Raises:
      Unreadable: the function cannot be called so. Unknown: this version of it cannot.
    """
    signature, types = _form(function)
    parameters = signature.parameters.values()
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        _check_known(names, signature.parameters)
    if count > len(parameters) and not any(one.kind is one.VAR_POSITIONAL for one in parameters):
        raise Unknown("one more argument")
    try:
        given = signature.bind(*range(count), **{name: name for name in names}).arguments
    except TypeError as error:
        raise Unreadable(f"its message: {error}") from None
    return [(where, name, types[name]) for name, where in given.items() if name in types]


def _form(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """The function's parameters, and the types of those that are one value each."""
    signature = inspect.signature(function)
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    single = {name for name, one in signature.parameters.items() if one.kind not in several}
    try:
        types = typing.get_type_hints(function)
    except NameError:
        return signature, {}
    return signature, {name: kind for name, kind in types.items() if name in single}


def _check_known(names: Iterable[str], known: typing.Collection[str]) -> None:
    unknown = sorted(str(name) for name in names if name not in known)
    if unknown:
        raise Unknown(f"the field {unknown[0][:60]!r}")


def _convert(value: Any, kind: Any, what: str) -> Any:
    try:
        return convert(value, kind)
    except msgspec.ValidationError as error:
        raise Unreadable(f"{what}: {error}"[:200]) from None
