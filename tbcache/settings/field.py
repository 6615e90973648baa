"""The fields of the settings: each has a reader, by which a wrong value is found before it is used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

T = TypeVar("T")
#: Makes a setting of text, or of what code gives in its place. Its ValueError says what would be right.
Reader = Callable[[Any], T]


class WrongValue(ValueError):
    """``field`` cannot have the value that was given; the message says what would be right."""

    def __init__(self, field: str, right: str) -> None:
        super().__init__(right)
        self.field = field


@overload
def setting(read: Reader[T]) -> T | None: ...
@overload
def setting(read: Reader[T], default: T) -> T: ...
@overload
def setting(read: Reader[T], *, default_factory: Callable[[], T]) -> T: ...
def setting(read: Reader[Any], default: Any = None, default_factory: Any = dataclasses.MISSING) -> Any:
    """A field of a dataclass, and how its value is read."""
    metadata = {"read": read}
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def readers_of(kind: type[Any]) -> dict[str, Reader[Any]]:
    """The fields of a dataclass that are settings, and the reader of each."""
    return {one.name: one.metadata["read"] for one in dataclasses.fields(kind) if "read" in one.metadata}


def read_fields(readers: Mapping[str, Reader[Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of ``given``, which are all of known fields, each as its field has it.

    Raises:
      WrongValue: the first, in the order of the fields, that is no value of its field.
    """
    found = {}
    for name, read in readers.items():
        if name in given:
            try:
                found[name] = read(given[name])
            except ValueError as error:
                raise WrongValue(name, str(error)) from None
    return found
