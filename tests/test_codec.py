"""Values go to Redis and come back as what they were."""

from __future__ import annotations

import contextlib
import json
import sys
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator

from tbcache.models import FetchRequest, Item, SymbolSentiment
from tbcache.store.codec import (
    DecodeError,
    NotLoaded,
    canonical,
    decode,
    decode_sentiment,
    encode,
    encode_sentiment,
)
from tbcache.store.envelope import FOREVER, HEAD_BYTES, UNCLEARED, open_envelope, read_head, seal

NEW_YORK = ZoneInfo("America/New_York")
SENTIMENT = SymbolSentiment(
    source="twitter",
    symbol="AAPL",
    hours=24,
    score=0.31,
    count=3,
    bullish=2,
    bearish=1,
    neutral=0,
    as_of=datetime(2026, 1, 5, 14, 30, 0, 123456, UTC),
    complete=False,
    since=datetime(2026, 1, 4, 9, 0, tzinfo=NEW_YORK),
    scorer="vader/1",
    reason="$AAPL: page budget",
)


class Colour(Enum):
    RED = "red"
    PAIR = (1, "two")


class Size(IntEnum):
    BIG = 3


class Mood(StrEnum):
    UP = "up"


class Access(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: int
    y: float = 0.0
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trade:
    at: datetime
    price: Decimal
    near: Point | None = None


@dataclass
class Doubled:
    """Would count twice if it were constructed again on decoding."""

    values: list[int]

    def __post_init__(self) -> None:
        self.values = self.values * 2


class Quote(BaseModel):
    model_config = ConfigDict(frozen=True)

    symbol: str
    price: Decimal
    when: datetime | None = None
    trade: Trade | None = None


class Aliased(BaseModel):
    model_config = ConfigDict(extra="allow")

    inner: int = Field(alias="outer")
    other: str = "default"

    @field_validator("inner")
    @classmethod
    def _grow(cls, value: int) -> int:
        return value + 1


class Tick(msgspec.Struct, frozen=True, rename="camel"):
    last_price: float
    seen_at: datetime
    venues: tuple[str, ...] = ()


class Outer:
    class Inner(Enum):
        ONE = 1


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    -(2**200),
    0.1,
    -0.0,
    float("inf"),
    "",
    "naïve $AAPL 🚀 \x00",
    "$datetime",
    b"\x00\xff",
    b"",
    [],
    [1, [2, [None]]],
    (),
    (1, "a", (2.5,)),
    {1, 2, 3},
    set(),
    pytest.param(frozenset({"a", (1, 2)}), id="frozenset"),
    {},
    {"a": {"b": [1, 2.5, None]}},
    {"$datetime": "not really", "v": 1},
    {"nested": {"$x": 1}},
    {1: "a", None: "b", (1, 2): "c", "$d": "d", 2.5: 1, date(2026, 1, 1): 2},
    datetime(2026, 1, 5, 9, 30),
    datetime(2026, 1, 5, 9, 30, 1, 5, UTC),
    datetime(2026, 1, 5, 9, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(2026, 7, 5, 9, 30, tzinfo=NEW_YORK),
    datetime.min,
    datetime.max,
    date(2026, 2, 28),
    time(23, 59, 59, 999999),
    time(1, 2, tzinfo=UTC),
    time(9, 30, tzinfo=NEW_YORK),
    timedelta(days=-1, microseconds=1),
    timedelta.max,
    Decimal("1.10"),
    Decimal("-Infinity"),
    uuid.UUID(int=7),
    Colour.RED,
    Colour.PAIR,
    Size.BIG,
    Mood.UP,
    Access.READ | Access.WRITE,
    Outer.Inner.ONE,
    Point(1, 2.5, ["a"]),
    Trade(datetime(2026, 1, 1, tzinfo=UTC), Decimal("3.50"), Point(1)),
    Doubled([1, 2]),
    Quote(symbol="AAPL", price=Decimal("1.5"), trade=Trade(datetime(2026, 1, 1), Decimal(1))),
    Aliased(outer=1, more={"a": (1,)}),
    Tick(1.5, datetime(2026, 1, 1, tzinfo=UTC), ("N", "Q")),
    FetchRequest("twitter", "AAPL", 24),
    Item("1", datetime(2026, 1, 1, tzinfo=UTC), "text", label="bullish"),
    SENTIMENT,
    {"deep": [(Colour.RED, {frozenset({Decimal(1)}): SENTIMENT}), Point(1)]},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:40])
def test_a_value_comes_back_as_what_it_was(value: Any) -> None:
    """A tuple that comes back as a list, or a datetime as a str, breaks the caller far away."""
    found = decode(encode(value))
    assert found == value
    assert type(found) is type(value)


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["$dict", "$tuple", "$", "v"])
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.none() | st.just(UTC) | st.timezones())
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.sampled_from([Colour.RED, Size.BIG, Access.READ])
)
_KEYS = st.text(max_size=5) | st.sampled_from(["$tuple", "$x"]) | st.integers() | st.tuples(st.integers())
_KEYS = _KEYS.filter(lambda key: not isinstance(key, str) or key.isascii())


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(_KEYS, inner, max_size=4)
        | st.sets(st.integers() | st.text("ab$"), max_size=4)
        | st.frozensets(st.tuples(st.integers(), st.booleans()), max_size=4)
        | st.builds(Point, st.integers(), st.floats(allow_nan=False), st.lists(st.text("ab"), max_size=2))
    )


@given(st.recursive(_SCALARS, _containers, max_leaves=12))
def test_any_value_comes_back_as_what_it_was(value: Any) -> None:
    """The list above holds what we thought of; this one holds the rest."""
    found = decode(encode(value))
    assert found == value
    assert type(found) is type(value)
    assert canonical(found) == canonical(value)


def test_a_zone_that_this_machine_does_not_know_is_not_taken_for_damage() -> None:
    """Another has written it, who knows it: its value must not be removed."""
    with pytest.raises(NotLoaded, match="Nowhere/Town"):
        decode(b'{"$datetime":"2026-01-05T09:30:00-05:00[Nowhere/Town]"}')


@given(st.datetimes(timezones=st.timezones()), st.sampled_from([0, 1]))
def test_a_moment_keeps_its_zone_and_its_place_in_a_repeated_hour(moment: datetime, fold: int) -> None:
    """01:30 comes twice when summer time ends; an answer must not move by an hour."""
    moment = moment.replace(fold=fold)
    found = decode(encode(moment))
    assert found.tzinfo is moment.tzinfo
    assert found.utcoffset() == moment.utcoffset()


def test_nan_survives() -> None:
    """JSON has no NaN; written as null it would come back as None."""
    found = decode(encode([float("nan")]))[0]
    assert type(found) is float
    assert found != found


@pytest.mark.parametrize("value", [None, 1, "text", [1, 2.5, {"a": None}], {"a": {"b": True}}])
def test_plain_values_are_plain_json(value: Any) -> None:
    """Other languages read the cache as well."""
    assert json.loads(encode(value)) == value


@pytest.mark.parametrize(
    "value",
    [object(), {"a": [1j]}, (OrderedDict(),), type, lambda: 1, bytearray(b"a"), NotImplemented, [iter([])]],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_stored_is_named(value: Any) -> None:
    """A subclass or an object that silently became something else would be a corrupt cache."""
    with pytest.raises(TypeError, match=r"^cannot encode a [\w.]+"):
        encode(value)


def test_a_type_is_named_with_its_module() -> None:
    """ "cannot encode a Frame" would leave one searching for whose."""

    class Frame:
        pass

    with pytest.raises(TypeError, match=r"tests\.test_codec\..*Frame; use plain data"):
        encode({"deep": [Frame()]})


def test_a_class_that_cannot_be_found_again_is_refused_at_once() -> None:
    """Storing it would only be noticed as a miss for ever."""

    @dataclass
    class Hidden:
        x: int

    with pytest.raises(TypeError, match="Hidden: its class must be a module's own"):
        encode(Hidden(1))


def test_a_value_that_holds_itself_is_refused() -> None:
    """Else it would end in a RecursionError without a name."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="cannot encode a list nested this deep"):
        encode(loop)


def test_a_lone_surrogate_is_refused() -> None:
    """It is no text, and no JSON parser takes it."""
    with pytest.raises(TypeError, match="surrogate"):
        encode({"a": "\ud800"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"not json",
        b"\xff\xfe",
        b'{"$nope": 1}',
        b'{"$datetime": "yesterday"}',
        b'{"$datetime": "2026-01-01T00:00:00[Nowhere/Land]"}',
        b'{"$datetime": "2026-01-01T00:00:00[../../etc/passwd]"}',
        b'{"$datetime": 5}',
        b'{"$bytes": "***"}',
        b'{"$decimal": "one"}',
        b'{"$uuid": "x"}',
        b'{"$set": [[]]}',
        b'{"$set": 1}',
        b'{"$dict": [[1]]}',
        b'{"$timedelta": [1]}',
        b'{"$enum": "tests.test_codec:Colour", "v": "blue"}',
        b'{"$dataclass": 5, "v": {}}',
        b'{"$dataclass": "tests.test_codec:Point"}',
        b'{"$dataclass": "tests.test_codec:Point", "v": {}}',
        b'{"$dataclass": "tests.test_codec:Point", "v": 3}',
        b'{"$model": "tests.test_codec:Quote", "v": {"symbol": "A"}}',
        b'{"$struct": "tests.test_codec:Tick", "v": {}}',
        b'{"$dataclass": "tbcache.models:SymbolSentiment", "v": {"source": 1}}',
        b'{"a": ' + b"[" * 100_000 + b'"$"',
        b"[" * 5_000 + b'{"$tuple": []}' + b"]" * 5_000,
    ],
    ids=lambda data: data[:50].decode("latin-1"),
)
def test_corrupt_bytes_are_one_error(data: bytes) -> None:
    """Whoever reads the cache has one thing to catch."""
    with pytest.raises(DecodeError):
        decode(data)


@given(st.binary(max_size=60) | st.text('{}[]":,$v1adtuple').map(str.encode))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """Anyone may have written to Redis."""
    with contextlib.suppress(DecodeError):
        decode(data)


@pytest.mark.parametrize(
    "reference",
    [
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "tests.test_codec:Outer",
        "tests.test_codec:_containers",
    ],
)
@pytest.mark.parametrize("tag", ["enum", "dataclass", "model", "struct"])
def test_only_data_classes_are_ever_built(reference: str, tag: str) -> None:
    """Whoever can write to Redis must not choose what this process calls."""
    with pytest.raises(DecodeError):
        decode(json.dumps({f"${tag}": reference, "v": {}}).encode())


def test_a_class_of_another_kind_than_its_tag_is_refused() -> None:
    """An Enum's value lookup is not a dataclass's constructor."""
    with pytest.raises(DecodeError, match="is no struct"):
        decode(b'{"$struct": "tests.test_codec:Point", "v": {"x": 1}}')


def test_decoding_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing runs code, and the name comes from Redis."""
    lazy = ModuleType("lazy_module")
    lazy.__getattr__ = lambda name: pytest.fail("asked the module's __getattr__")  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_module", lazy)
    monkeypatch.delitem(sys.modules, "this", raising=False)
    for reference in ("this:s", "lazy_module:Thing", "lazy_module:", ":", "tests.test_codec:Point.x.y"):
        with pytest.raises(NotLoaded):
            decode(json.dumps({"$dataclass": reference, "v": {}}).encode())
    assert "this" not in sys.modules


def test_a_newer_class_takes_defaults_and_an_older_one_ignores_what_it_lacks() -> None:
    """Two versions of a worker share one cache while a fleet is being upgraded."""
    reference = "tests.test_codec:Point"
    assert decode(json.dumps({"$dataclass": reference, "v": {"x": 1}}).encode()) == Point(1)
    wider = {"$dataclass": reference, "v": {"x": 1, "y": 2.0, "tags": [], "z": 3}}
    assert decode(json.dumps(wider).encode()) == Point(1, 2.0)
    quote = {"$model": "tests.test_codec:Quote", "v": {"symbol": "A", "price": {"$decimal": "1"}}}
    assert decode(json.dumps(quote).encode()) == Quote(symbol="A", price=Decimal(1))


def test_a_model_remembers_which_fields_were_set() -> None:
    """``exclude_unset`` must give the same before and after the cache."""
    quote = Quote(symbol="AAPL", price=Decimal(1))
    assert decode(encode(quote)).model_dump(exclude_unset=True) == quote.model_dump(exclude_unset=True)


def test_equal_values_have_one_canonical_form() -> None:
    """A cache key may not depend on the order in which a dict or a set was filled."""
    one = {"a": {3, 1, 2}, "b": {1: "x", 2: "y"}, "c": frozenset({"p", "q"})}
    other = {"c": frozenset({"q", "p"}), "b": {2: "y", 1: "x"}, "a": {2, 3, 1}}
    assert canonical(one) == canonical(other)
    assert canonical({1}) != canonical([1]) != canonical((1,))
    assert canonical("1") != canonical(1)


def test_a_sentiment_is_the_same_by_either_way() -> None:
    """The hot path has an encoder of its own, and the cache manager reads what it wrote."""
    payload = encode_sentiment(SENTIMENT)
    assert payload == encode(SENTIMENT)
    assert decode_sentiment(payload) == decode(payload) == SENTIMENT
    assert json.loads(payload)["$dataclass"] == "tbcache.models:SymbolSentiment"


def test_a_sentiment_that_was_decoded_is_not_decoded_again() -> None:
    """A bot asks for the same again and again, and mostly gets the same bytes."""
    payload = encode_sentiment(SENTIMENT)
    assert decode_sentiment(payload) is decode_sentiment(bytes(bytearray(payload)))
    changed = payload.replace(SENTIMENT.symbol.encode(), b"OTHER")
    assert decode_sentiment(changed).symbol == "OTHER"


def test_an_older_worker_reads_a_newer_sentiment() -> None:
    """A field that a newer version added must not turn every hit into a miss."""
    tagged = json.loads(encode_sentiment(SENTIMENT))
    tagged["v"]["brand_new"] = {"x": 1}
    assert decode_sentiment(json.dumps(tagged).encode()) == SENTIMENT


@pytest.mark.parametrize("payload", [b"", b"{}", b"null", encode(Point(1)), encode({"a": 1})])
def test_what_is_no_sentiment_is_refused(payload: bytes) -> None:
    """A user may have set a value of their own under a source's key."""
    with pytest.raises(DecodeError):
        decode_sentiment(payload)


def test_another_class_with_a_sentiments_fields_is_no_sentiment() -> None:
    """The tag counts, not that the fields happen to fit."""
    payload = encode_sentiment(SENTIMENT).replace(b"tbcache.models:SymbolSentiment", b"other:Sentiment")
    with pytest.raises(DecodeError, match="other:Sentiment"):
        decode_sentiment(payload)


def test_an_envelope_opens_to_what_was_sealed() -> None:
    """The scripts read the head by position."""
    sealed = seal(b"[1]", 1_767_000_000_000_000, 1_766_000_000_000_000)
    assert open_envelope(sealed) == (1_767_000_000_000_000, 1_766_000_000_000_000, b"[1]")
    assert open_envelope(seal(b"null")) == (FOREVER, UNCLEARED, b"null")
    assert seal(b"1", 5, 6) == b'{"f":0000000000000005,"b":0000000000000006,"v":1}'
    assert json.loads(seal(encode({"a": 1})))["v"] == {"a": 1}
    assert read_head(seal(b"[1, 2]", 7, 8)[:HEAD_BYTES]) == (7, 8)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b'{"f":17,"v":1}',
        b'{"f":0000000000000005,"v":1}',
        b'{"x":0000000000000005,"b":0000000000000006,"v":1}',
        b'{"f":0000000000000005,"x":0000000000000006,"v":1}',
        b'{"f":000000000000000x,"b":0000000000000006,"v":1}',
        b'{"f":0000000000000005,"b":000000000000000x,"v":1}',
        b'{"f":0000000000000005,"b":0000000000000006,"w":1}',
        b'{"f":0000000000000005,"b":0000000000000006,"v":1',
    ],
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    """Slicing blindly would hand out half a value."""
    with pytest.raises(DecodeError):
        open_envelope(data)
