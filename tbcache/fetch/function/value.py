"""Writes what a function returns as JSON, and reads it back as the return annotation says.

A process reads what another process has written, perhaps with other classes or an older version of them. So
nothing about classes is written, and a value that does not fit the annotation counts as missing.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import msgspec.inspect

from tbcache.fetch.function.fidelity import change, foreign_class, is_plain
from tbcache.fetch.function.shape import shape
from tbcache.models.decoder import json_decoder
from tbcache.models.error import InvalidRequest
from tbcache.models.untrusted import printable
from tbcache.store.codec import DecodeError
from tbcache.store.wire import to_micros

T = TypeVar("T")

_ADVICE = "return plain JSON, or annotate what is returned with a model, a dataclass, a Struct or a TypedDict"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NotCacheable(TypeError):
    """What a function returns cannot be cached, whenever it is called."""


class Timed(NamedTuple, Generic[T]):
    """A value, the time at which it was loaded (UTC, by the server's clock), and what both were read from."""

    value: T
    at: datetime
    payload: bytes


class _Entry(msgspec.Struct):
    """What is stored. ``at`` is in microseconds since the Unix epoch."""

    at: int
    v: msgspec.Raw


class Values(Generic[T]):
    """Encodes and decodes the values that one function returns."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._name = getattr(function, "__qualname__", repr(function))

    @property
    def shape(self) -> str:
        """A short hash of how the values are read; "" without an annotation, or where that cannot be read."""
        try:
            return self._shape
        except TypeError:
            return ""  # The error is raised later, to the caller for whom a value is loaded.

    @cached_property
    def _shape(self) -> str:
        return shape(self._annotation)

    def check(self) -> None:
        """Look at what can be known before the first call, where the names of the annotation are defined.

        Raises:
          InvalidRequest: no value that the function returns could be cached.
        """
        unwrapped = inspect.unwrap(self._function)
        if inspect.isgeneratorfunction(unwrapped) or inspect.isasyncgenfunction(unwrapped):
            raise InvalidRequest(f"{self._name}() yields, and what it yields cannot be cached: return a list")
        try:
            kind = self._kind
        except Exception:  # any of it may be of the user's code; the first call tells
            return
        if (foreign := foreign_class(kind)) is not None:
            what = f"{self._name}() returns a {foreign.__qualname__}, which cannot be cached"
            raise InvalidRequest(f"{what}: {_ADVICE}")

    def encode(self, value: Any, at: datetime) -> bytes:
        """``value``, which was loaded ``at`` that time, as a payload.

        Raises:
          NotCacheable: it cannot be cached; the message says what can.
        """
        return b'{"at":%d,"v":%b}' % (to_micros((at - _EPOCH).total_seconds()), self._encode(value))

    def decode(self, payload: bytes) -> Timed[T]:
        """The value that was given to :meth:`encode`, read as the annotation says.

        Raises:
          DecodeError: it does not fit the annotation.
        """
        try:
            entry = _ENTRIES.decode(payload)
            at = _EPOCH + timedelta(microseconds=entry.at)
            return Timed(self._decoder.decode(entry.v), at, payload)
        except Exception as error:  # validators of the user's run here, and may raise anything
            raise DecodeError(f"no value of {self._name}() ({type(error).__name__})") from error

    def _encode(self, value: Any) -> bytes:
        try:
            data = msgspec.json.encode(value, enc_hook=_plain)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise self._cannot(value, str(error)) from None
        try:
            found = self._decoder.decode(data)
        except Exception as error:  # as above
            raise self._cannot(value, f"it does not fit the annotation: {error}") from None
        try:
            # Most is equal, which is seen much sooner than what has changed.
            is_same = self._is_plain and found == value
            changed = None if is_same else change(self._kind, found, value)
        except RecursionError:
            changed = "it is nested too deeply"
        if changed is not None:
            raise self._cannot(value, changed)
        return data

    def _cannot(self, value: object, why: str) -> NotCacheable:
        kind, reason = type(value).__qualname__, printable(why, 200)
        return NotCacheable(f"{self._name}() returned a {kind} that cannot be cached ({reason}): {_ADVICE}")

    @cached_property
    def _is_plain(self) -> bool:
        return is_plain(self._kind)

    @cached_property
    def _annotation(self) -> Any:
        function = inspect.unwrap(self._function)
        if not inspect.isroutine(function):
            return Any
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except NameError as error:
            raise NotCacheable(
                f"the return annotation of {self._name}() cannot be read ({error}): name a class of a module"
            ) from None
        return hints.get("return", Any)

    @cached_property
    def _kind(self) -> msgspec.inspect.Type:
        return msgspec.inspect.type_info(self._annotation)

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[T]:
        try:
            return json_decoder(self._annotation, _built)
        except TypeError as error:
            raise NotCacheable(f"what {self._name}() returns cannot be cached: {error}") from None


_ENTRIES = json_decoder(_Entry)


def _plain(value: Any) -> Any:
    """A pydantic model as plain data, by the names of its fields. It is recognised by its methods, so that
    pydantic need not be installed.
    """
    if not (hasattr(type(value), "model_validate_json") and hasattr(value, "model_dump")):
        raise TypeError(f"{type(value).__qualname__} is not supported")
    return value.model_dump(mode="json", round_trip=True, by_alias=False)


def _built(kind: Any, plain: object) -> Any:
    """A value of a class that msgspec does not know how to read."""
    if kind is object:
        return plain
    if not hasattr(kind, "model_validate_json"):
        raise TypeError(f"{getattr(kind, '__qualname__', kind)} is not supported")
    return kind.model_validate_json(msgspec.json.encode(plain), by_alias=False, by_name=True)
