"""Whether a value is still the same after it was written as JSON and read back.

JSON has no keys other than strings, turns a tuple into a list, and has no times, which become text. An
annotation like ``dict[date, Bar]`` says how each of these is read back. An annotation like ``dict`` or
``Any`` leaves that open. Then nothing may change: code that reads ``prices[1]`` would not find the key, which
is ``"1"`` now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

from msgspec import inspect as kinds

_ABSENT = object()
#: By this method a model of pydantic is recognised, which need not be installed.
_READER = "model_validate_json"


def is_kept(kind: kinds.Type, found: Any, value: Any) -> bool:
    """True where ``found``, which was read as a ``kind``, equals ``value`` in all parts that ``kind`` leaves
    open.
    """
    if _is_open(kind):
        return _is_same(found, value)
    match kind, found:
        case kinds.UnionType(types), _:
            # For the types that the value does not have, this is always true.
            return all(is_kept(one, found, value) for one in types)
        case kinds.DictType(key, item), dict():
            # The items are in the same order in both, as JSON keeps it.
            return _has_keys(key, found, value) and _are_kept(repeat(item), found.values(), value.values())
        case kinds.ListType(item) | kinds.VarTupleType(item), list() | tuple():
            return _are_kept(repeat(item), found, value)
        case kinds.TupleType(items), tuple():
            return _are_kept(items, found, value)
        case kinds.SetType(item) | kinds.FrozenSetType(item), _ if _is_open(item):
            return bool(found == value)
        case (
            (
                kinds.DataclassType(_, fields)
                | kinds.StructType(_, fields)
                | kinds.TypedDictType(_, fields)
                | kinds.NamedTupleType(_, fields)
            ),
            _,
        ):
            return all(_is_field_kept(field, found, value) for field in fields)
    return True


def odd_part(kind: kinds.Type, value: object, place: str = "it") -> str | None:
    """Which part that ``kind`` leaves open is nothing that JSON knows, in words; None where none is found."""
    match kind, value:
        case kinds.DictType(_, item), dict():
            parts = [odd_part(item, part, f"{place}[{key!r}]") for key, part in value.items()]
        case kinds.ListType(item), list():
            parts = [odd_part(item, part, f"{place}[{number}]") for number, part in enumerate(value)]
        case _, dict() if _is_open(kind):
            parts = [f"{place} has the key {key!r}" for key in value if type(key) is not str]
            parts += [odd_part(kind, part, f"{place}[{key!r}]") for key, part in value.items()]
        case _, list() if _is_open(kind):
            parts = [odd_part(kind, part, f"{place}[{number}]") for number, part in enumerate(value)]
        case _ if _is_open(kind) and type(value) not in (str, int, float, bool, type(None)):
            return f"{place} is a {type(value).__qualname__}"
        case _:
            return None
    return next(filter(None, parts), None)


def foreign_class(kind: kinds.Type) -> type | None:
    """A class within ``kind`` of which no value can be read from JSON; None where there is none."""
    waiting, seen = [kind], set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, kinds.CustomType) and not (_is_open(one) or hasattr(one.cls, _READER)):
            return one.cls
        if id(one) not in seen:
            seen.add(id(one))
            waiting += _parts_of(one)
    return None


def _parts_of(kind: kinds.Type) -> Iterator[kinds.Type]:
    for attribute in kind.__struct_fields__:
        part = getattr(kind, attribute)
        for one in part if isinstance(part, tuple) else (part,):
            if isinstance(one, kinds.Type | kinds.Field):
                yield one.type if isinstance(one, kinds.Field) else one


def _is_open(kind: kinds.Type) -> bool:
    """True for Any and for object, which say nothing about the value."""
    return isinstance(kind, kinds.AnyType) or (isinstance(kind, kinds.CustomType) and kind.cls is object)


def _has_keys(kind: kinds.Type, found: dict[Any, Any], value: object) -> bool:
    """Whether the keys are the same as before, unless the annotation has them read as another type."""
    is_text = _is_open(kind) or isinstance(kind, kinds.StrType)
    return isinstance(value, dict) and (found.keys() == value.keys() or not is_text)


def _are_kept(items: Iterable[kinds.Type], found: Iterable[Any], value: object) -> bool:
    return isinstance(value, Iterable) and all(map(is_kept, items, found, value))


def _is_field_kept(field: kinds.Field, found: object, value: object) -> bool:
    parts = [_part(whole, field.name) for whole in (found, value)]
    return _ABSENT in parts or is_kept(field.type, *parts)


def _part(whole: object, name: str) -> Any:
    return whole.get(name, _ABSENT) if isinstance(whole, dict) else getattr(whole, name, _ABSENT)


def _is_same(found: object, value: object) -> bool:
    """True where both are equal, and all of their parts have equal types."""
    if type(found) is not type(value):
        return False
    if isinstance(found, list) and isinstance(value, list):
        return len(found) == len(value) and all(map(_is_same, found, value))
    if isinstance(found, dict) and isinstance(value, dict):
        return found.keys() == value.keys() and all(_is_same(found[key], value[key]) for key in found)
    return found == value
