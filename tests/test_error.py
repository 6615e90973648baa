"""The errors: what a copy of one knows, as one that comes from another process."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tbcache.io.error import own_copy
from tbcache.models import error as errors
from tbcache.models.error import MissingExtra, RateLimited, RedisUnreachable, TbcacheError, UnknownSource
from tbcache.store import Refused, Unavailable

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Mine(errors.UpstreamThrottled):
    """A user's own, that knows more."""

    def __init__(self, source: str) -> None:
        super().__init__(source, "slow down", retry_at=NOON)
        self.plan = "free"


def _kinds(kind: type[TbcacheError] = TbcacheError) -> Iterator[type[TbcacheError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _kinds(one)


def _one(kind: type[TbcacheError]) -> TbcacheError:
    if issubclass(kind, Mine):
        return kind("news")
    if issubclass(kind, errors.UpstreamError):
        return kind("news", "it is down", status=503, retry_at=NOON)
    if issubclass(kind, RateLimited):
        return kind("news", NOON, "no slot")
    if issubclass(kind, Refused | Unavailable):
        return kind("redis://localhost", "it is away")
    if issubclass(kind, RedisUnreachable):
        return kind("redis://localhost", "it is away", is_passing=True)
    if issubclass(kind, UnknownSource):
        return kind("newz", ["news"])
    if issubclass(kind, MissingExtra):
        return kind("it", ["a", "b"], "sql", "do without")
    return kind("why")


@pytest.mark.parametrize("kind", [one for one in _kinds() if one.__module__ in (errors.__name__, __name__)])
def test_a_copy_of_an_error_says_the_same_and_knows_as_much(kind: type[TbcacheError]) -> None:
    """One that cannot be made again breaks a pool of processes, for all that it does from then on."""
    error = _one(kind)
    for made in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(made) is kind
        assert (str(made), made.args, vars(made)) == (str(error), error.args, vars(error))


class Slotted(TbcacheError):
    __slots__ = ("__since", "zone")

    def __init__(self, zone: str) -> None:
        super().__init__("it is elsewhere")
        self.zone, self.__since = zone, NOON

    @property
    def since(self) -> datetime:
        return self.__since


class Missing(TbcacheError, OSError):
    """A user's, that has a number of the system's."""


def test_a_copy_knows_what_stands_in_slots_and_what_the_system_says() -> None:
    for made in (pickle.loads(pickle.dumps(Slotted("x"))), copy.copy(Slotted("x"))):  # noqa: S301
        assert (made.zone, made.since) == ("x", NOON)
    made = pickle.loads(pickle.dumps(Missing(2, "no such", "a.txt")))  # noqa: S301
    assert (str(made), made.filename) == ("[Errno 2] no such: 'a.txt'", "a.txt")
    error = MissingExtra("it", ["a"], "sql")
    assert pickle.loads(pickle.dumps(error)).msg == error.msg == str(error)  # noqa: S301


class Refusal(Exception):
    """As most are written."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the upstream said {code}")
        self.code = code


@pytest.mark.parametrize(
    "error", [Refusal(429), ValueError(1, "x"), OSError(2, "no such"), Slotted("x"), Mine("news")]
)
def test_whoever_shares_an_error_raises_the_same_words(error: Exception) -> None:
    """Its class was called with them, and put them into others."""
    error.add_note("a note")
    error.__cause__, error.__context__ = KeyError("cause"), LookupError("context")
    error.__suppress_context__ = False
    shared = own_copy(own_copy(error))
    assert (shared.__cause__, shared.__context__) == (error.__cause__, error.__context__)
    assert not shared.__suppress_context__
    assert shared.__notes__ == ["a note"]
    assert (type(shared), str(shared), shared.args) == (type(error), str(error), error.args)
    assert vars(shared) == vars(error)
    assert getattr(shared, "zone", None) == getattr(error, "zone", None)
    if shared is not error:
        shared.add_note("another's")
        assert error.__notes__ == ["a note"]
