"""A source that is declared in code, and the functions that fetch from it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, Protocol, TypeVar, overload

from tbcache.cache.decorator import check_function
from tbcache.fetch.function.closure import is_twin
from tbcache.fetch.function.fetcher import AsyncFetcher, Fetcher, Setup
from tbcache.fetch.function.tools import FunctionTools
from tbcache.io.coroutine import is_coroutine_function
from tbcache.io.singleton import singleton
from tbcache.models import PATIENCE_SECONDS, is_whole, wait_seconds
from tbcache.models.error import InvalidRequest
from tbcache.models.ttl import check_ttl
from tbcache.models.untrusted import quoted
from tbcache.settings import Source, declare, get_settings
from tbcache.settings.declared import Work, get_work

P = ParamSpec("P")
T = TypeVar("T")

MAX_NAME_CHARS = 128


class Decorator(Protocol):
    """The type of ``@quotes.fetcher(...)``, which keeps the signature of the function."""

    @overload  # The first that fits counts.
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> AsyncFetcher[P, T]: ...

    @overload
    def __call__(self, function: Callable[P, T], /) -> Fetcher[P, T]: ...


class FunctionSource:
    """An upstream from which functions fetch. :func:`tbcache.source` makes it."""

    def __init__(self, source: Source) -> None:
        #: The figures of the source. Those of the environment go before those of the code.
        self.source = source
        self._tools = FunctionTools(source.name)
        #: Of each function its module, and the file that this was read from.
        self._modules: dict[str, tuple[str, str]] = {}
        self._functions: dict[str, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        return f"tbcache.source({self.source.name!r})"

    if not TYPE_CHECKING:  # A type checker says it by itself.

        def __call__(self, *args: object, **kwargs: object) -> NoReturn:
            raise TypeError(f"{self!r} is a source and no decorator: write @source.fetcher")

    @overload  # The first that fits counts.
    def fetcher(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> AsyncFetcher[P, T]: ...

    @overload
    def fetcher(self, function: Callable[P, T], /) -> Fetcher[P, T]: ...

    @overload
    def fetcher(
        self,
        *,
        ttl: float | None = None,
        cost: int | None = None,
        name: str | None = None,
        key: Callable[..., object] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> Decorator: ...

    def fetcher(
        self,
        function: Callable[..., Any] | None = None,
        *,
        ttl: float | None = None,
        cost: int | None = None,
        name: str | None = None,
        key: Callable[..., object] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> Any:
        """Have ``function``, sync or async, fetch from this source: ``@quotes.fetcher``.

        A call gives what is cached under its arguments, or runs the function: once for the whole fleet,
        with a slot of the source's limits. ``ttl`` (seconds) and ``cost`` (slots that a call takes) are
        the source's where they are not said; a call waits at most ``patience`` seconds for a slot, or for
        another that loads the same. ``name`` stands in the key in place of the function's own; ``key`` is
        called as the function is, and says what stands for the arguments.

        Raises:
          InvalidRequest: one of these cannot be it; the function is a fetcher of this source; or the name is
            that of another module's function, or, where it is not said, of one that the same factory made
            around other values.
        """

        def decorate(function: Callable[..., Any]) -> Fetcher[..., Any] | AsyncFetcher[..., Any]:
            check_function(function, "@source.fetcher")
            kind = AsyncFetcher if is_coroutine_function(function) else Fetcher
            named = self._named(function, name)
            setup = Setup(self._tools, self._figures(ttl, cost), named, seconds, key)
            made: Fetcher[..., Any] | AsyncFetcher[..., Any] = kind(function, setup)
            uses_slot = made.source.cost == self.source.cost
            # One whose job brings no slot waits for its own in the queue, and not in a thread.
            worker = made if uses_slot else kind(function, setup._replace(patience=0.0))
            get_work()[made.actor_name] = Work(made.actor_name, self.source.name, worker.work, uses_slot)
            return made

        seconds = wait_seconds("patience", patience)
        if seconds < 0:
            raise InvalidRequest(f"patience {quoted(patience)} must be 0 seconds or more; inf is for ever")
        if key is not None and not callable(key):
            raise InvalidRequest(
                f"key {quoted(key)} is no function: say what stands for the arguments, as by "
                "key=lambda symbol: symbol.upper()"
            )
        return decorate if function is None else decorate(function)

    def _figures(self, ttl: float | None, cost: int | None) -> Source:
        source, most = self.source, min(limit.count for limit in self.source.limits)
        if cost is not None and not (is_whole(cost) and 1 <= cost <= most):
            raise InvalidRequest(f"cost {quoted(cost)} must be a whole number from 1 to the limit, {most}")
        return replace(
            source,
            cache_ttl=source.cache_ttl if ttl is None else check_ttl(ttl),
            cost=source.cost if cost is None else cost,
        )

    def _named(self, function: Callable[..., Any], name: str | None) -> str:
        """The name of the function in its keys. The name of its module is no part of it."""
        found = getattr(function, "__qualname__", "<unknown>") if name is None else name
        if not isinstance(found, str) or not 0 < len(found) <= MAX_NAME_CHARS or found.endswith(">"):
            raise InvalidRequest(
                f"{quoted(found)} is no name for a fetcher: say name=, of 1-{MAX_NAME_CHARS} characters"
            )
        self._check_module(found, function)
        if name is None:
            self._check_factory(found, function)
        self._functions[found] = function
        return found

    def _check_module(self, name: str, function: Callable[..., Any]) -> None:
        module, file = getattr(function, "__module__", ""), _file_of(function)
        known, its_file = self._modules.setdefault(name, (module, file))
        # A program that runs by `python -m`, and that its own modules import, is two modules of one file.
        is_one = module == known or ("__main__" in (module, known) and file and file == its_file)
        if not is_one:
            raise InvalidRequest(
                f"{name} of {module} and that of {known} would share their values under "
                f"{self.source.name}: say name= for one of them"
            )

    def _check_factory(self, name: str, function: Callable[..., Any]) -> None:
        if is_twin(self._functions.get(name), function):
            raise InvalidRequest(
                f"{name} was made before, around other values, and the two would share what they fetch "
                f"under {self.source.name}: say name= for each"
            )


def _file_of(function: Callable[..., Any]) -> str:
    """The file that a function stands in; "" where there is none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return "" if code is None or code.co_filename.startswith("<") else str(Path(code.co_filename).resolve())


@singleton
def get_function_sources() -> dict[str, FunctionSource]:
    """The declared sources of this process, by name."""
    return {}


def source(
    name: str,
    limits: str | None = None,
    *,
    ttl: float | None = None,
    stale: float | None = None,
    cost_per_request: float | None = None,
    daily_budget: float | None = None,
) -> FunctionSource:
    """The source ``name``, for functions to fetch from, sync or async.

        quotes = tbcache.source("alphavantage", limits="5/1m,500/1d", ttl=60)

        @quotes.fetcher
        def quote(symbol: str) -> dict[str, float]: ...

    ``limits`` hold for all functions of the source and all processes together. A value is fresh for ``ttl``
    seconds (default 300); for ``stale`` seconds more (default 0) it may stand in for a new one: while one
    is being loaded, as long as it is younger than twice ``ttl``, or where it cannot be. ``cost_per_request``
    and ``daily_budget`` are in US dollars.

    Variables like ``TBCACHE_ALPHAVANTAGE__LIMITS`` go before what the code says, and a configured source
    has its figures already. Asked for again, with the same figures or none, a source is the same.

    Raises:
      InvalidRequest: ``name`` is none, or a limit is none.
      ConfigurationError: a figure cannot be one, is missing, or is not what was said before.
    """
    said = {
        "limits": limits,
        "cache_ttl": ttl,
        "stale_ttl": stale,
        "daily_budget": daily_budget,
        "cost_per_request": cost_per_request,
    }
    declared = declare(name, said, get_settings(), stacklevel=3)
    return get_function_sources().setdefault(name, FunctionSource(declared))
