"""How the answers of scripts are read: each reply is a NamedTuple, declared once."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

R = TypeVar("R")
Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Reply(Generic[R]):
    """What a script answers: ``read`` makes of it what the caller gets. ``kinds`` are the records that it
    may be, by the name that the answer begins with; "" where there is but one, and no name."""

    read: Callable[[Any], R]
    kinds: dict[str, type]

    def lua(self) -> Iterator[str]:
        """Lines of Lua, a function for each record: ``reply_go(now, entry)`` builds ``GoReply``."""
        for tag, kind in self.kinds.items():
            fields = fields_of(kind)
            values = [f"{name} and 1 or 0" if type_ is bool else name for name, type_ in fields.items()]
            if tag:
                values.insert(0, f"'{tag}'")
            head = f"local function reply_{tag or tag_of(kind)}({', '.join(fields)})"
            yield f"{head} return {{{', '.join(values)}}} end"


def record(kind: type[R]) -> Reply[R]:
    """The answer's elements are the fields of ``kind``."""
    return Reply(_reader_of(kind), {"": kind})


def records(kind: type[Any]) -> Reply[Any]:
    """The answer's elements are any number of ``kind``."""
    return Reply(_many_of(_reader_of(kind)), {"": kind})


def one_of(*kinds: type[R]) -> Reply[R]:
    """The answer's first element names one of ``kinds``; what follows are its fields."""
    readers = {tag_of(kind).encode(): _reader_of(kind) for kind in kinds}

    def read(answer: Any) -> R:
        found: R = readers[answer[0]](answer[1:])
        return found

    return Reply(read, {tag_of(kind): kind for kind in kinds})


def pairs(answer: Any) -> list[tuple[Any, Any]]:
    """What stands beside each other in a command's answer: fields and values, members and scores. Nothing of
    an error in its place."""
    return list(zip(answer[::2], answer[1::2], strict=True)) if isinstance(answer, list) else []


#: Scripts that answer with one value, or with none that anybody reads.
flag: Reply[bool] = Reply(lambda answer: bool(int(answer)), {})
number: Reply[int] = Reply(int, {})
text: Reply[bytes] = Reply(bytes, {})
nothing: Reply[None] = Reply(lambda answer: None, {})
texts: Reply[tuple[str, ...]] = Reply(lambda answer: tuple(part.decode() for part in answer), {})


@functools.cache
def fields_of(kind: Any) -> Mapping[str, Any]:
    """The fields of a NamedTuple with their types."""
    hints = get_type_hints(kind, include_extras=True)
    return MappingProxyType({name: hints[name] for name in kind._fields})


def tag_of(kind: type) -> str:
    """``RetryLater`` -> ``retry_later``. So does ``RetryLaterReply``, where something else has the name."""
    name = kind.__name__.removesuffix("Reply")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def is_many(kind: Any) -> bool:
    """``tuple[X, ...]``: any number of them."""
    return get_origin(kind) is tuple


def _reader_of(kind: Any) -> Read:
    if get_origin(kind) is Annotated:
        read: Read = get_args(kind)[1]
        return read
    if is_many(kind):
        return _many_of(_reader_of(get_args(kind)[0]))
    if hasattr(kind, "_fields"):
        return _record_of(kind)
    return _READERS[kind]


def _many_of(read: Read) -> Read:
    return lambda answer: tuple(map(read, answer))


def _record_of(kind: Any) -> Read:
    readers = [(at, _reader_of(type_)) for at, type_ in enumerate(fields_of(kind).values())]
    readers = [(at, read) for at, read in readers if read is not _as_is]

    def read_record(answer: Any) -> Any:
        parts = list(answer)
        for at, read in readers:
            parts[at] = read(parts[at])
        return kind._make(parts)

    return read_record


def _as_is(answer: Any) -> Any:
    return answer


_READERS: dict[Any, Read] = {
    int: int,
    float: float,
    bool: lambda answer: bool(int(answer)),
    bytes: _as_is,
    str: lambda answer: answer.decode(errors="backslashreplace"),
}
