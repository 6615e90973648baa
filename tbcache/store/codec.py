"""Values as JSON whose types survive.

What JSON knows is stored as plain JSON, for other languages to read. Anything else
becomes an object with one tag, a key that starts with ``$``:

    {"$datetime": "2026-01-05T09:30:00-05:00[America/New_York]"}
    {"$dataclass": "module:Class", "v": {"field": ...}}

Decoding imports nothing: a class must have been imported already, and be of the kind its
tag says. Fields it has got since take their defaults, fields it has lost are ignored.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from tbcache.io.description import described
from tbcache.models import SymbolSentiment
from tbcache.models.decoder import convert, json_decoder

if TYPE_CHECKING:
    from pydantic import BaseModel

#: How many answers are kept as they were decoded: some megabytes at most.
KNOWN_SENTIMENTS = 256


class DecodeError(ValueError):
    """The bytes are nothing that :func:`encode` wrote."""


class NotLoaded(DecodeError):
    """The bytes may be right, but are of a class this process has not imported, or of an unknown zone."""


def encode(value: Any) -> bytes:
    """``value`` as JSON.

    Raises:
      TypeError: names the type that cannot be stored.
    """
    return _write(_packed(value), _ENCODER)


def decode(data: bytes) -> Any:
    """What was given to :func:`encode`.

    Raises:
      NotLoaded: a class it names is not loaded.
      DecodeError: the bytes are corrupt, or name something that is no data class.
    """
    try:
        tree = _DECODER.decode(data)
        # Most values are plain, and a plain one is what the parser made of it.
        return _unpack(tree) if b'"$' in data else tree
    except DecodeError:
        raise
    except ZoneInfoNotFoundError as error:
        raise NotLoaded(f"this machine does not know the time zone {error}"[:200]) from None
    except Exception as error:  # a validator of the user's may raise anything
        raise DecodeError(f"cannot be decoded ({described(error)})"[:200]) from error


def canonical(value: Any) -> bytes:
    """Like :func:`encode`, but equal for equal values whatever the order of their keys and members.

    Raises:
      TypeError: names the type that cannot be stored.
    """
    return _write(_sorted(_packed(value)), _CANONICAL)


def encode_sentiment(sentiment: SymbolSentiment) -> bytes:
    """:func:`encode`, for the one type on the hot path."""
    return _SENTIMENT_HEAD + _ENCODER.encode(sentiment) + b"}"


@functools.lru_cache(maxsize=KNOWN_SENTIMENTS)
def decode_sentiment(payload: bytes) -> SymbolSentiment:
    """:func:`decode`, for the one type on the hot path. Fields this version lacks are ignored.

    The same bytes are the same object, which nobody may change: who asks Redis again mostly gets the same.

    Raises:
      DecodeError: it is no sentiment.
    """
    try:
        tagged = _SENTIMENT_DECODER.decode(payload)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"no sentiment ({error})") from error
    if tagged.reference != _SENTIMENT:
        raise DecodeError(f"no sentiment but a {tagged.reference[:80]}")
    return tagged.v


class _TaggedSentiment(msgspec.Struct, gc=False):
    reference: str = msgspec.field(name="$dataclass")
    v: SymbolSentiment


_ENCODER = msgspec.json.Encoder()
_CANONICAL = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder()
#: The place from which users import the class, as the module that it is written in may move.
_SENTIMENT = "tbcache.models:SymbolSentiment"
_SENTIMENT_HEAD = b'{"$dataclass":"%b","v":' % _SENTIMENT.encode()
_SENTIMENT_DECODER = json_decoder(_TaggedSentiment)


def _write(tree: Any, encoder: msgspec.json.Encoder) -> bytes:
    try:
        return encoder.encode(tree)
    except UnicodeEncodeError:
        raise TypeError("cannot encode a str with a lone surrogate: it is no text") from None
    except RecursionError:
        raise TypeError("cannot encode a value nested this deep") from None


# --- to JSON -----------------------------------------------------------------------------


def _packed(value: Any) -> Any:
    try:
        return _pack(value)
    except RecursionError:
        raise TypeError(
            f"cannot encode a {_name(type(value))} nested this deep, or that holds itself"
        ) from None


def _pack(value: Any) -> Any:
    packer = _PACKERS.get(type(value))
    return packer(value) if packer is not None else _pack_object(value)


def _as_is(value: Any) -> Any:
    return value


def _pack_float(value: float) -> Any:
    return value if math.isfinite(value) else {"$float": repr(value)}


def _pack_all(values: Iterable[Any]) -> list[Any]:
    return [_pack(value) for value in values]


def _pack_dict(value: dict[Any, Any]) -> Any:
    if all(type(key) is str and key[:1] != "$" for key in value):
        return {key: _pack(item) for key, item in value.items()}
    return {"$dict": [[_pack(key), _pack(item)] for key, item in value.items()]}


def _pack_time(value: datetime | time) -> str:
    """ISO 8601; a named zone follows in brackets (RFC 9557), because an offset is not a zone."""
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo):
        if zone.key is None:
            raise TypeError("cannot encode a time zone without a name")
        return f"{value.isoformat()}[{zone.key}]"
    if zone is not None and value.utcoffset() is None:
        raise TypeError(f"cannot encode a {type(value).__name__} in a zone of type {_name(type(zone))}")
    return value.isoformat()


def _pack_object(value: Any) -> Any:
    cls: type[Any] = type(value)
    if isinstance(value, Enum):
        return {"$enum": _reference(cls), "v": _pack(value.value)}
    if _is_model(cls):
        return _pack_model(value)
    if isinstance(value, msgspec.Struct):
        return {"$struct": _reference(cls), "v": _pack_fields(value, cls.__struct_fields__)}
    if dataclasses.is_dataclass(cls):
        names = [field.name for field in dataclasses.fields(cls)]
        return {"$dataclass": _reference(cls), "v": _pack_fields(value, names)}
    raise TypeError(f"cannot encode a {_name(cls)}; use plain data, a dataclass, a model or an Enum")


def _is_model(cls: type) -> bool:
    """Whether it is a model of pydantic, which need not be installed: who has a model has loaded it."""
    base = getattr(sys.modules.get("pydantic.main"), "BaseModel", None)
    return base is not None and issubclass(cls, base)


def _pack_fields(value: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: _pack(getattr(value, name)) for name in names}


def _pack_model(value: BaseModel) -> dict[str, Any]:
    names = [*type(value).model_fields, *(value.model_extra or {})]
    packed: dict[str, Any] = {"$model": _reference(type(value)), "v": _pack_fields(value, names)}
    unset = sorted(set(names) - value.model_fields_set)
    return {**packed, "unset": unset} if unset else packed


def _pack_sentiment(value: SymbolSentiment) -> dict[str, Any]:
    """Like any dataclass, but with its times as plain strings: its types are known, see the decoder."""
    return {"$dataclass": _SENTIMENT, "v": msgspec.to_builtins(value)}


_PACKERS: dict[type, Callable[[Any], Any]] = {
    type(None): _as_is,
    bool: _as_is,
    int: _as_is,
    str: _as_is,
    float: _pack_float,
    list: _pack_all,
    dict: _pack_dict,
    bytes: lambda value: {"$bytes": base64.b64encode(value).decode()},
    tuple: lambda value: {"$tuple": _pack_all(value)},
    set: lambda value: {"$set": _pack_all(value)},
    frozenset: lambda value: {"$frozenset": _pack_all(value)},
    datetime: lambda value: {"$datetime": _pack_time(value)},
    date: lambda value: {"$date": value.isoformat()},
    time: lambda value: {"$time": _pack_time(value)},
    timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    Decimal: lambda value: {"$decimal": str(value)},
    UUID: lambda value: {"$uuid": str(value)},
    SymbolSentiment: _pack_sentiment,
}


def _sorted(tree: Any) -> Any:
    """The tree with members of sets and pairs of dicts in one order; plain keys the encoder sorts."""
    if isinstance(tree, list):
        return [_sorted(node) for node in tree]
    if not isinstance(tree, dict):
        return tree
    tree = {key: _sorted(node) for key, node in tree.items()}
    for tag in ("$set", "$frozenset", "$dict"):
        if tag in tree:
            tree[tag].sort(key=_CANONICAL.encode)
    return tree


# --- and back ----------------------------------------------------------------------------


def _unpack(node: Any) -> Any:
    if type(node) is list:
        return [_unpack(item) for item in node]
    if type(node) is not dict:
        return node
    for key in node:
        if key[:1] == "$":
            return _untag(key, node)
    return {key: _unpack(item) for key, item in node.items()}


def _untag(tag: str, node: dict[str, Any]) -> Any:
    build = _BUILDERS.get(tag)
    if build is not None:
        return build(node[tag])
    build_class = _CLASS_BUILDERS.get(tag)
    if build_class is None:
        raise DecodeError(f"unknown tag {tag[:40]!r}")
    return build_class(_resolve(node[tag], tag), node)


def _build_dict(pairs: list[list[Any]]) -> dict[Any, Any]:
    return {_unpack(key): _unpack(item) for key, item in pairs}


def _build_datetime(text: str) -> datetime:
    stamp, _, zone = text.partition("[")
    moment = datetime.fromisoformat(stamp)
    if not zone:
        return moment
    local = moment.replace(tzinfo=ZoneInfo(zone[:-1]))
    # Twice a year an hour comes twice; the offset says which of the two it was.
    return local if local.utcoffset() == moment.utcoffset() else local.replace(fold=1)


def _build_time(text: str) -> time:
    stamp, _, zone = text.partition("[")
    moment = time.fromisoformat(stamp)
    return moment.replace(tzinfo=ZoneInfo(zone[:-1])) if zone else moment


def _build_timedelta(parts: list[int]) -> timedelta:
    days, seconds, microseconds = parts
    return timedelta(days, seconds, microseconds)


def _build_enum(cls: type[Enum], node: dict[str, Any]) -> Any:
    return cls(_unpack(node["v"]))


def _build_dataclass(cls: type, node: dict[str, Any]) -> Any:
    if cls is SymbolSentiment:
        return convert(node["v"], SymbolSentiment)
    values = node["v"]
    made: Any = object.__new__(cls)
    for field in dataclasses.fields(cls):
        value = _unpack(values[field.name]) if field.name in values else _default(cls, field)
        object.__setattr__(made, field.name, value)
    return made


def _default(cls: type, field: dataclasses.Field[Any]) -> Any:
    """What a field gets that the entry's writer did not have."""
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise DecodeError(f"{_name(cls)} has no {field.name!r} in what was stored")


def _build_model(cls: type[BaseModel], node: dict[str, Any]) -> Any:
    values = {name: _unpack(item) for name, item in node["v"].items()}
    for name, field in cls.model_fields.items():
        if name not in values and field.is_required():
            raise DecodeError(f"{_name(cls)} has no {name!r} in what was stored")
    # Constructed, not validated: it was valid when it was stored, and validators may
    # change what they are given.
    return cls.model_construct(_fields_set=set(values) - set(node.get("unset", ())), **values)


def _build_struct(cls: type[msgspec.Struct], node: dict[str, Any]) -> Any:
    values = node["v"]
    return cls(**{name: _unpack(values[name]) for name in cls.__struct_fields__ if name in values})


_BUILDERS: dict[str, Callable[[Any], Any]] = {
    "$float": float,
    "$dict": _build_dict,
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$tuple": lambda items: tuple(_unpack(items)),
    "$set": lambda items: set(_unpack(items)),
    "$frozenset": lambda items: frozenset(_unpack(items)),
    "$datetime": _build_datetime,
    "$date": date.fromisoformat,
    "$time": _build_time,
    "$timedelta": _build_timedelta,
    "$decimal": Decimal,
    "$uuid": UUID,
}
_CLASS_BUILDERS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "$enum": _build_enum,
    "$dataclass": _build_dataclass,
    "$model": _build_model,
    "$struct": _build_struct,
}
_KINDS: dict[str, Callable[[type], bool]] = {
    "$enum": lambda cls: issubclass(cls, Enum),
    "$dataclass": dataclasses.is_dataclass,
    "$model": _is_model,
    "$struct": lambda cls: issubclass(cls, msgspec.Struct),
}


def _resolve(reference: str, tag: str) -> type:
    """The class ``module:Qualname``, from what is loaded; nothing is imported.

    Raises:
      NotLoaded: there is no such class here.
      DecodeError: it is no class of the tag's kind.
    """
    found = _lookup(reference)
    if found is None:
        raise NotLoaded(f"{reference[:80]!r} is not loaded in this process")
    if not isinstance(found, type) or not _KINDS[tag](found):
        raise DecodeError(f"{reference[:80]!r} is no {tag[1:]}")
    return found


def _lookup(reference: str) -> object:
    module, _, qualname = reference.partition(":")
    found: object = sys.modules.get(module)
    for name in qualname.split("."):
        # getattr would not do: a module's own __getattr__ may import.
        found = getattr(found, "__dict__", {}).get(name)
    return found


def _reference(cls: type) -> str:
    """``module:Qualname`` of a class.

    Raises:
      TypeError: it cannot be found by that name again.
    """
    reference = f"{cls.__module__}:{cls.__qualname__}"
    if _lookup(reference) is not cls:
        raise TypeError(f"cannot encode a {_name(cls)}: its class must be a module's own, to be found again")
    return reference


def _name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
