"""Decoders of msgspec, each made while no other is.

What msgspec learns of a class it learns at the first use, and writes it down before it is whole. A second
thread that decodes a value of that class meanwhile reads through a null pointer, and the process ends by
SIGSEGV (seen with 0.22.0). So a class is learned here, under a lock, before anything is read as one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar, overload

import msgspec

T = TypeVar("T")

#: A moment that says its zone.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]

_LOCK = threading.RLock()
_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def json_decoder(
    kind: type[T], dec_hook: Callable[[type, Any], Any] | None = None
) -> msgspec.json.Decoder[T]:
    """A decoder of JSON that is a ``kind``.

    Raises:
      TypeError: msgspec cannot read a ``kind``.
    """
    with _LOCK:
        return msgspec.json.Decoder(kind, dec_hook=dec_hook)


def msgpack_decoder(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    with _LOCK:
        return msgspec.msgpack.Decoder(kind)


def decode_json(data: bytes | str | msgspec.Raw, kind: Any) -> Any:
    """The ``kind`` of value that ``data`` is.

    Raises:
      msgspec.DecodeError: it is none. RecursionError: it is nested too deeply.
    """
    return _decoder(kind).decode(data)


@overload
def convert(value: Any, kind: type[T]) -> T: ...
@overload
def convert(value: Any, kind: Any) -> Any: ...
def convert(value: Any, kind: Any) -> Any:
    """The ``kind`` of value that the plain ``value`` is.

    Raises:
      msgspec.ValidationError: it is none.
    """
    _decoder(kind)
    return msgspec.convert(value, kind)


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    found = _DECODERS.get(kind)
    if found is None:
        found = _DECODERS[kind] = json_decoder(kind)
    return found


def _after_fork() -> None:
    """A thread that the child does not have may have held the lock."""
    global _LOCK
    _LOCK = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
