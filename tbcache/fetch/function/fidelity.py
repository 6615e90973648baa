"""Whether a value is still the same after it was written as JSON and read back.

JSON has no keys other than strings, turns a tuple into a list, and has no times, which become text, and no
NaN, which becomes null. An annotation like ``dict[date, Bar]`` says how some of these are read back. An
annotation like ``dict`` or ``Any`` leaves that open. Then nothing may change: code that reads ``prices[1]``
would not find the key, which is ``"1"`` now.

Where an annotation has a part read as another type, as a dict as a model, that is what was asked for. What is
read as its own type has to be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from msgspec import inspect as kinds

_ABSENT = object()
#: By this method a model of pydantic is recognised, which need not be installed.
_READER = "model_validate_json"
_NONE = type(None)
_ATOMS = (_NONE, bool, int, float, str, bytes, date, time, timedelta, Decimal, Enum, UUID)

_PLAIN = (
    *(kinds.NoneType, kinds.BoolType, kinds.IntType, kinds.FloatType, kinds.StrType, kinds.BytesType),
    *(kinds.DateTimeType, kinds.DateType, kinds.TimeType, kinds.TimeDeltaType, kinds.DecimalType),
    *(kinds.UUIDType, kinds.LiteralType, kinds.UnionType, kinds.ListType, kinds.DictType),
)

#: What has changed between two parts, in words; it is given the name of their place.
Comparison = Callable[[Any, Any, str], str | None]


def change(kind: kinds.Type, found: Any, value: Any, place: str = "it") -> str | None:
    """Which part of ``value`` is another one in ``found``, which was read as a ``kind``, in words; None where
    all are the same. ``place`` is what ``value`` is called.
    """
    if _is_open(kind):
        return _plain_change(found, value, place)
    match kind, found:
        case kinds.UnionType(types), _:
            # Of the types that the value does not have, nothing is found.
            return _first(change(one, found, value, place) for one in types)
        case kinds.DictType(key, item), dict():
            return _dict_change(found, value, place, _as(item), is_text=_may_be_text(key))
        case kinds.ListType(item) | kinds.VarTupleType(item), list() | tuple():
            return _items_change(found, value, place, _as(item))
        case kinds.TupleType(items), tuple():
            parts = zip(items, found, value, strict=False)
            return _first(change(*part, f"{place}[{number}]") for number, part in enumerate(parts))
        case kinds.SetType(item) | kinds.FrozenSetType(item), _ if _is_open(item):
            return None if found == value else _other(found, value, place)
        case (
            (
                kinds.DataclassType(kind_of, fields)
                | kinds.StructType(kind_of, fields)
                | kinds.NamedTupleType(kind_of, fields)
            ),
            _,
        ) if isinstance(found, kind_of):
            return _sliced(found, value, place) or _fields_change(fields, found, value, place)
        case kinds.TypedDictType(_, fields), dict():
            return _fields_change(fields, found, value, place)
        case kinds.CustomType(), _ if hasattr(type(found), _READER):
            return _model_change(found, value, place)
    return _atom_change(found, value, place)


def is_plain(kind: kinds.Type) -> bool:
    """True where what is read as a ``kind``, and is equal to what was written, is the same: nothing within it
    is open, or of a class with an equality of its own."""
    return all(isinstance(one, _PLAIN) for one in _all_within(kind))


def foreign_class(kind: kinds.Type) -> type | None:
    """A class within ``kind`` of which no value can be read from JSON; None where there is none."""
    for one in _all_within(kind):
        if isinstance(one, kinds.CustomType) and not (_is_open(one) or hasattr(one.cls, _READER)):
            return one.cls
    return None


def _all_within(kind: kinds.Type) -> Iterator[kinds.Type]:
    waiting, seen = [kind], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += _parts_of(one)


def _parts_of(kind: kinds.Type) -> Iterator[kinds.Type]:
    for attribute in kind.__struct_fields__:
        part = getattr(kind, attribute)
        for one in part if isinstance(part, tuple) else (part,):
            if isinstance(one, kinds.Type | kinds.Field):
                yield one.type if isinstance(one, kinds.Field) else one


def _is_open(kind: kinds.Type) -> bool:
    """True for Any and for object, which say nothing about the value."""
    return isinstance(kind, kinds.AnyType) or (isinstance(kind, kinds.CustomType) and kind.cls is object)


def _may_be_text(key: kinds.Type) -> bool:
    """True where a key of a dict may be read as the text that it is in JSON."""
    if isinstance(key, kinds.UnionType):
        return any(map(_may_be_text, key.types))
    return _is_open(key) or isinstance(key, kinds.StrType)


def _first(changes: Iterable[str | None]) -> str | None:
    return next(filter(None, changes), None)


def _as(kind: kinds.Type) -> Comparison:
    return lambda found, value, place: change(kind, found, value, place)


def _other(found: object, value: object, place: str) -> str:
    if isinstance(value, float) and found is None:
        return f"{place} is {value}, which JSON cannot say, and would come back as None"
    # The value itself may be a secret.
    return f"{place} would come back as {'None' if found is None else 'another value'}"


def _unread(value: object, place: str) -> str:
    return f"{place} is a {type(value).__qualname__}, and no annotation says how to read that"


def _plain_change(found: Any, value: Any, place: str) -> str | None:
    """What has changed where no annotation says how to read it: nothing may, not even a type."""
    if type(found) is not type(value):
        return _other(found, value, place) if isinstance(value, float) else _unread(value, place)
    if isinstance(found, dict):
        return _dict_change(found, value, place, _plain_change, is_text=True)
    if isinstance(found, list):
        return _items_change(found, value, place, _plain_change)
    return _atom_change(found, value, place)


def _dict_change(
    found: dict[Any, Any], value: Any, place: str, compare: Comparison, *, is_text: bool
) -> str | None:
    if not isinstance(value, dict):
        return _unread(value, place)
    if len(found) != len(value):
        return _other(found, value, place)
    # Keys that are read as text are the same as before.
    if is_text and (odd := [key for key in value if key not in found]):
        return f"{place} has the key {odd[0]!r}, and no annotation says how to read that"
    # The items are in the same order in both, as JSON keeps it.
    both = zip(found.values(), value.items(), strict=False)
    return _first(compare(one, other, f"{place}[{key!r}]") for one, (key, other) in both)


def _items_change(found: Collection[Any], value: Any, place: str, compare: Comparison) -> str | None:
    if not isinstance(value, Collection):
        return _unread(value, place)
    if len(found) != len(value):
        return _other(found, value, place)
    both = enumerate(zip(found, value, strict=False))
    return _first(compare(one, other, f"{place}[{number}]") for number, (one, other) in both)


def _sliced(found: object, value: object, place: str) -> str | None:
    """That a value of a subclass comes back as its base, without what the subclass adds."""
    kind, base = type(value), type(found)
    if kind is base or not isinstance(value, base):
        return None
    return f"{place} is a {kind.__qualname__}, and would come back as a {base.__qualname__}"


def _fields_change(fields: Iterable[kinds.Field], found: object, value: object, place: str) -> str | None:
    parts = ((one, _part(found, one.name), _part(value, one.name)) for one in fields)
    return _first(
        change(one.type, before, after, f"{place}.{one.name}")
        for one, before, after in parts
        if before is not _ABSENT and after is not _ABSENT
    )


def _part(whole: object, name: str) -> Any:
    return whole.get(name, _ABSENT) if isinstance(whole, dict) else getattr(whole, name, _ABSENT)


def _model_change(found: Any, value: Any, place: str) -> str | None:
    """What has changed in a model of pydantic: a serializer or a validator may change it, a field may be
    left out, and a secret is written as stars."""
    if type(found) is not type(value):
        return _sliced(found, value, place)
    before, after = vars(value), vars(found)
    names = (name for name in type(found).model_fields if name in before and name in after)
    return _first(_closed_change(after[name], before[name], f"{place}.{name}") for name in names)


def _closed_change(found: Any, value: Any, place: str) -> str | None:
    """What has changed in a part of a model, whose annotation is the model's own."""
    if hasattr(type(found), _READER):
        return _model_change(found, value, place)
    if type(found) is type(value) and isinstance(found, dict):
        return _dict_change(found, value, place, _closed_change, is_text=True)
    if type(found) is type(value) and isinstance(found, list | tuple):
        return _items_change(found, value, place, _closed_change)
    try:
        # What says nothing of its equality, as an object of no class of ours may, counts as kept.
        is_mute = type(found) is type(value) and found.__eq__(value) is NotImplemented
        is_kept = is_mute or _are_equal(found, value)
    except Exception:  # the code is somebody else's
        is_kept = True
    if is_kept:
        return None
    return (
        f"{_other(found, value, place)}, as its model writes it (a serializer, a secret, exclude) or reads it"
    )


def _atom_change(found: Any, value: Any, place: str) -> str | None:
    """What has changed in a part that has none: one of its own type must be equal, and nothing becomes
    None."""
    if type(found) is type(value):
        is_kept = not isinstance(found, _ATOMS) or _are_equal(found, value)
    else:
        is_kept = found is not None
    return None if is_kept else _other(found, value, place)


def _are_equal(found: Any, value: Any) -> bool:
    """Whether both are equal; of times with a zone, whether they are the same moment: in the hour in which
    clocks are set, Python calls those of two zones unequal."""
    if isinstance(found, datetime) and isinstance(value, datetime) and found.tzinfo and value.tzinfo:
        return found.astimezone(UTC) == value.astimezone(UTC)
    return bool(found == value)
