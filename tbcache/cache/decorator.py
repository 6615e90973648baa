"""``@cached``: a function's results, kept in the cache."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import itertools
import operator
import sys
from collections.abc import Callable, Coroutine, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload
from uuid import UUID

from tbcache.cache.key import check_key
from tbcache.cache.manager import CacheManager, get_cache_manager
from tbcache.io.coroutine import is_coroutine_function
from tbcache.io.loop import drive
from tbcache.models.error import InvalidRequest
from tbcache.models.ttl import check_ttl
from tbcache.models.untrusted import quoted
from tbcache.store import codec
from tbcache.store.memory import MISSING

P = ParamSpec("P")
Q = ParamSpec("Q")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")
T = TypeVar("T")

#: They tell functions apart that are made around them.
_PLAIN = (str, bytes, bool, int, float, Decimal, date, time, timedelta, UUID)
#: It stands for the owner of a method, in a call that is asked about without one.
_OWNER = object()
#: Longer arguments are hashed.
READABLE_CHARS = 100


class Cached(Protocol[P, R_co]):
    """A function whose results are kept.

    ``invalidate`` forgets the result for these arguments; of an ``async`` function it is a
    coroutine. Both it and ``cache_key`` are asked without ``self`` on an instance.
    """

    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str: ...

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Cached[P, R_co]: ...

    @overload
    def __get__(
        self: Cached[Concatenate[Any, Q], R_co], instance: object, owner: type | None = None
    ) -> Cached[Q, R_co]: ...


@overload
def cached(function: Callable[P, R], /) -> Cached[P, R]: ...


@overload
def cached(
    *, ttl: float | None = None, key_prefix: str | None = None, cache: CacheManager | None = None
) -> Callable[[Callable[P, R]], Cached[P, R]]: ...


def cached(
    function: Callable[..., Any] | None = None,
    /,
    *,
    ttl: float | None = None,
    key_prefix: str | None = None,
    cache: CacheManager | None = None,
) -> Any:
    """Keep what a function returns for ``ttl`` seconds (default 300), by its bound arguments.

    Works on functions and methods, sync and async; ``self`` and ``cls`` of a method are no part of the
    key, so all instances share. None is kept like any result, exceptions are not. Callers in one
    process who want the same at once share one call.

        @cached(ttl=60, key_prefix="quote")
        def quote(symbol: str, currency: str = "USD") -> float: ...

        quote("AAPL")
        quote.invalidate("AAPL")

    ``key_prefix`` defaults to the function's full name, with the plain values (texts, numbers, times) that
    it took from the function around it when it was decorated. Functions that differ in anything else
    share their values: two lambdas of one scope, or two that a factory makes around a client or a list.
    Give each a ``key_prefix`` of its own. Calls raise TypeError when an argument
    cannot be part of a key, or the result cannot be stored.

    Without brackets, ``@cached``, all is as it is by default.

    Raises:
      InvalidRequest: ``ttl`` or ``key_prefix`` cannot be one; what is decorated is no function.
    """
    if ttl is not None:
        check_ttl(ttl)

    def decorate(function: Callable[..., Any]) -> Any:
        check_function(function, "@cached")
        key = CallKey(function, key_prefix)
        manager = get_cache_manager if cache is None else lambda: cache
        wrap: Any = _wrap_async if is_coroutine_function(function) else _wrap
        wrapped: Any = functools.wraps(function)(wrap(function, key, manager, ttl))
        key.wrapped = wrapped
        wrapped.cache_key = key.of
        return wrapped

    return decorate if function is None else decorate(function)


def check_function(function: object, decorator: str) -> None:
    """Refuse what is no function; most of it is a figure that was said without its name.

    Raises:
      InvalidRequest: it is none.
    """
    if not callable(function):
        raise InvalidRequest(
            f"{decorator} was given {quoted(function)}, which is no function: say figures by name, as in "
            f"{decorator}(ttl=60)"
        )


def _wrap(
    function: Callable[..., T], key: CallKey, manager: Callable[[], CacheManager], ttl: float | None
) -> Callable[..., T]:
    def call(*args: Any, **kwargs: Any) -> T:
        return manager().get_or_load(key(args, kwargs), lambda: function(*args, **kwargs), ttl)

    def invalidate(*args: Any, **kwargs: Any) -> bool:
        return manager().delete(key.of(*args, **kwargs))

    call.invalidate = invalidate  # type: ignore[attr-defined]
    return call


def _wrap_async(
    function: Callable[..., Coroutine[Any, Any, T]],
    key: CallKey,
    manager: Callable[[], CacheManager],
    ttl: float | None,
) -> Callable[..., Coroutine[Any, Any, T]]:
    async def call(*args: Any, **kwargs: Any) -> T:
        name, core = key(args, kwargs), manager().core
        # A value in memory needs no I/O.
        kept: T = core.recall(name)
        if kept is not MISSING:
            return kept
        return await drive(core.get_or_load(name, lambda: function(*args, **kwargs), ttl))

    async def invalidate(*args: Any, **kwargs: Any) -> bool:
        return await drive(manager().core.delete(key.of(*args, **kwargs)))

    call.invalidate = invalidate  # type: ignore[attr-defined]
    return call


def _full_name(function: Callable[..., Any]) -> str:
    """What a function is called, and with which values: those that a factory makes have one name."""
    if not hasattr(function, "__qualname__"):  # as a partial, or an instance that can be called
        raise InvalidRequest(f"{quoted(function)} has no name to stand in a key: say key_prefix=")
    name = f"{function.__module__}.{function.__qualname__}"
    taken = ",".join(_taken(function))
    return f"{name}#{hashlib.blake2b(taken.encode(), digest_size=8).hexdigest()}" if taken else name


def _class_around(function: Callable[..., Any]) -> str:
    """The qualified name of the class in which a function was defined; "" where that is none."""
    around, _, _ = getattr(function, "__qualname__", "").rpartition(".")
    return "" if around.endswith("<locals>") else around


def _taken(function: Callable[..., Any]) -> Iterator[str]:
    """The plain values that a function took from those around it; what may change is no part of a name."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        # A name that is not assigned yet has no value, and an Enum of a local class has no canonical form.
        with contextlib.suppress(ValueError, TypeError):
            if isinstance(cell.cell_contents, _PLAIN):
                yield f"{name}={codec.canonical(cell.cell_contents).decode()}"


class CallKey:
    """The cache key of a call: the same for the same bound arguments, however they are given.

    ``chosen`` says of a call's arguments what stands for them.
    """

    wrapped: object = None

    def __init__(
        self,
        function: Callable[..., Any],
        prefix: str | None,
        chosen: Callable[..., object] | None = None,
    ) -> None:
        self._function = function
        self._chosen = chosen
        self._signature = inspect.signature(function)
        self._prefix = _full_name(function) if prefix is None else prefix
        check_key(self._prefix, what="key_prefix")
        self._class = _class_around(function)
        self._first = next(iter(self._signature.parameters), "")
        #: Whether it is, only a call tells: plain functions and static methods may have a ``cls`` as well.
        self._may_be_owned = self._first in ("self", "cls")

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        # What does not say whom it stands for, as a mock, is given as ``self`` all the same.
        is_owned = self._may_be_owned and (
            self._is_owner(bound.arguments[self._first]) or self._is_found_method()
        )
        if self._chosen is None:
            text = self._given(bound, is_owned)
        else:
            text = self._text("key", self._chosen(*bound.args[is_owned:], **bound.kwargs))
        if len(text) > READABLE_CHARS or not text.isprintable():
            text = "#" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return f"{self._prefix}:{text}"

    def _given(self, bound: inspect.BoundArguments, is_owned: bool) -> str:
        given = itertools.islice(bound.arguments.items(), is_owned, None)
        return ",".join(f"{name}={self._text(name, value)}" for name, value in given)

    def of(self, *args: Any, **kwargs: Any) -> str:
        """The key of a call with these arguments; of a method, with or without its ``self``."""
        if self._may_be_owned and not (args and self._is_owner(args[0])) and self._is_method():
            args = (_OWNER, *args)
        return self(args, kwargs)

    def _is_owner(self, first: object) -> bool:
        """True for an instance of the class whose method this is, or a proxy of one, and for that class."""
        bases = type(first).__mro__
        if isinstance(first, type):
            bases += first.__mro__
        elif first.__class__ is not type(first):
            bases += first.__class__.__mro__  # A proxy says whom it stands for.
        return first is _OWNER or any(map(self._is_of, bases))

    def _is_of(self, base: type) -> bool:
        # Where other decorators stand around it, the class does not have it by itself; where a factory has
        # made it, or it was set on the class later, its name does not say the class.
        if (base.__module__, base.__qualname__) == (self._function.__module__, self._class):
            return not isinstance(vars(base).get(self._function.__name__), staticmethod)
        found = tuple(vars(base).values())
        return any((one.__func__ if isinstance(one, classmethod) else one) is self.wrapped for one in found)

    def _is_method(self) -> bool:
        """What a function is by its name, as no call tells: a factory's method looks as a plain one does."""
        return not isinstance(self._attribute(), staticmethod) if self._class else self._first == "self"

    def _is_found_method(self) -> bool:
        """True where its class is found by its name and has a method here, not a static one."""
        return self._first == "self" and not isinstance(self._attribute(), staticmethod | None)

    def _attribute(self) -> object:
        """What the class has by the name of the function; None where it is not found by its own name."""
        with contextlib.suppress(AttributeError, KeyError):
            found = operator.attrgetter(self._class)(sys.modules[self._function.__module__])
            return inspect.getattr_static(found, self._function.__name__)
        return None

    def _text(self, name: str, value: object) -> str:
        try:
            return codec.canonical(value).decode()
        except TypeError as error:
            called = getattr(self._function, "__qualname__", self._prefix)
            raise TypeError(
                f"argument {name!r} of {called}() cannot be part of a cache key: {error}"
            ) from None
