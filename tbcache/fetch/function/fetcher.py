"""A function that fetches: its calls are cached, loaded once for the fleet, and inside the limits."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    NamedTuple,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

from tbcache.admission import Ask
from tbcache.admission.shared import TTL_JITTER
from tbcache.cache.decorator import CallKey
from tbcache.fetch import Answered
from tbcache.fetch.function.job import FunctionJob, as_raised
from tbcache.fetch.function.outcome import FetcherOutcome
from tbcache.fetch.function.queued import AsyncQueuedCall, Places, QueuedCall
from tbcache.fetch.function.shared_load import SharedLoads
from tbcache.fetch.function.tools import FunctionTools
from tbcache.fetch.function.value import Timed, Values
from tbcache.io import now, run, utc_now, world
from tbcache.io.coroutine import mark_coroutine_function
from tbcache.io.deadline import until
from tbcache.io.error import own_copy
from tbcache.io.loop import drive
from tbcache.models import Lane
from tbcache.models.error import InvalidRequest, RateLimited, UpstreamError
from tbcache.models.untrusted import quoted
from tbcache.settings import LONGEST_SECONDS, Source
from tbcache.store.codec import DecodeError
from tbcache.store.memory import Encoded

if TYPE_CHECKING:
    from dramatiq import Message

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")

#: A job is done in order to have a value that stays fresh for so long (seconds) at least, and no old one.
FRESH_SECONDS = 0.001
#: After so long a job that may not load looks again.
NOT_LOADED, NOT_LOADED_YET = timedelta(seconds=2.0), "no new value may be loaded yet"

#: The arguments of one call.
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Setup(NamedTuple):
    """How a function fetches.

    ``source`` has the figures of the source, or those of the function where it has its own. ``name`` is its
    name in keys. ``patience`` is how many seconds a call waits, and ``key`` makes the part of a key from the
    arguments.
    """

    tools: FunctionTools
    source: Source
    name: str
    patience: float
    key: Callable[..., object] | None


class _Function(Generic[P, R]):
    """The common part of sync and async fetchers."""

    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any], setup: Setup) -> None:
        if _source_of(function) == setup.source.name:
            # Such a load would wait for its own end.
            raise InvalidRequest(f"{function!r} fetches from {setup.source.name} already")
        functools.update_wrapper(cast("Callable[..., Any]", self), function)
        self._function = function
        self._setup = setup
        self._tools = setup.tools
        self._values: Values[R] = Values(function)
        self._values.check()
        self._key = CallKey(function, f"{setup.source.name}:{setup.name}", setup.key)
        self._key.wrapped = self
        #: For a method that was looked up on an instance: that instance.
        self._owner: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._setup.source.name}:{self._setup.name}>"

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which the value for these arguments is cached."""
        return self._shaped(self._key.of(*self._owner, *args, **kwargs))

    def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The key of a call, in which a method has its ``self``."""
        return self._shaped(self._key((*self._owner, *args), kwargs))

    def _shaped(self, key: str) -> str:
        """``key``, for values that are read as those of this function are (see shape.py)."""
        return f"{key}@{self._values.shape}" if self._values.shape else key

    @property
    def source(self) -> Source:
        """Its source, with the figures of this function."""
        return self._setup.source

    @property
    def actor_name(self) -> str:
        """The name of the actor by which a worker calls it."""
        return f"call.{self._setup.source.name}.{self._setup.name}"

    def message(self, *args: P.args, **kwargs: P.kwargs) -> Message[None]:
        """The message by which a worker calls it, for :func:`tbcache.enqueue_many`.

        Raises:
          TypeError: arguments that are none of the function's, or no part of a key; a method of an instance.
        """
        return self._message(args, kwargs)

    def _message(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Message[None]:
        import dramatiq

        if self._owner:
            raise TypeError(f"{self!r} is a method of an instance, which a worker does not have")
        # By its key one call waits, or runs, at a time; and none where its value is cached.
        key = self._called(args, kwargs)
        options = {"cache_key": key, "cache_key_args": len(args)}
        return dramatiq.Message(self.source.name, self.actor_name, args, kwargs, options)

    def __reduce__(self) -> str | tuple[Any, ...]:
        # It is pickled by its name, as any function is, because another process has a fetcher of its own.
        if self._owner:
            return getattr, (*self._owner, self._function.__name__)
        return self._function.__qualname__

    def _bound(self, instance: object) -> Self:
        bound = type(self).__new__(type(self))
        vars(bound).update(vars(self), _owner=(instance,))
        return bound

    def _recall(self, key: str) -> FetcherOutcome[R] | None:
        """The outcome from the memory of this process, while its value is known to be fresh."""
        kept = self._tools.pipeline.recall_kept(self._setup.source, key, Encoded)
        if kept is None:
            return None
        try:
            return self._outcome(Answered(self._values.decode(kept.payload), "cache"))
        except DecodeError:
            return None

    async def _look(self, key: str) -> R | None:
        hit = await self._tools.pipeline.admission.look(self._setup.source, key)
        try:
            return None if hit is None else self._values.decode(hit.payload).value
        except DecodeError:
            return None

    def _outcome(self, answered: Answered[Timed[R]] | Exception) -> FetcherOutcome[R]:
        if isinstance(answered, Exception):
            return FetcherOutcome(None, None, None, answered)
        (value, at, _), origin, failure = answered
        age = (self._tools.pipeline.admission.now - at).total_seconds()
        error = None if failure is None else failure.to_error(self._setup.source.name)
        return FetcherOutcome(value, origin, 0.0 if origin == "live" else max(0.0, age), error)

    def _loaded(self, outcome: FetcherOutcome[R]) -> R:
        """The value of a job's outcome. An old one is its end where a load has failed, as it is of any call.

        Raises:
          RateLimited: an old value stands in for a new one, as there is no slot yet, or another loads it.
        """
        source = self._setup.source
        # Without Redis, what is fresh by the memory of this process counts as old, and is all there is.
        is_old = outcome.origin == "stale" and (outcome.age or 0.0) >= (1 - TTL_JITTER) * source.cache_ttl
        if is_old and not isinstance(outcome.error, UpstreamError):
            raise outcome.error or RateLimited(source.name, utc_now() + NOT_LOADED, NOT_LOADED_YET)
        return outcome.value  # type: ignore[return-value]

    async def _travel(
        self,
        key: str,
        call: Callable[[float], Coroutine[Any, Any, Any]],
        lane: Lane,
        needed: float,
        slot: str | None = None,
    ) -> Answered[Timed[R]] | Exception:
        """How one call is answered. Without a value: what the function raised, or an UpstreamError where it
        ran elsewhere.

        Raises:
          RateLimited: there is no slot in time.
        """
        setup, pipeline = self._setup, self._tools.pipeline
        if self._tools.registration.is_due:
            await world().offload(self._tools.registration)
        if not needed and not slot:
            found = await pipeline.find_kept(setup.source, key, self._values.decode, _encoded)
            if found is not None:
                return Answered(found, "cache")
        job = FunctionJob(setup.source, setup.name, key, self._values, call, pipeline.admission)
        patience = setup.patience if lane == "interactive" else 0.0
        can_fall_back = slot is None
        ask = Ask(setup.source, job.request, lane, needed, slot, patience, can_fall_back)
        try:
            return await pipeline.travel(job, ask)
        except UpstreamError as error:
            # The exception is returned, because a StopIteration raised in a coroutine becomes a RuntimeError.
            return as_raised(job, error)


class Fetcher(_Function[P, R]):
    """A function whose calls fetch from a source; made by ``@quotes.fetcher``.

    A call returns what is cached under its arguments, else what the function returns, run once for the
    whole fleet. It raises what the function raises; an :class:`tbcache.UpstreamError` where another has
    just run it and failed, for some seconds; :class:`tbcache.RateLimited` where no slot comes free in time;
    and TypeError for arguments that cannot be part of a key, or a result that cannot be cached. Where an
    old value may stand in, it is returned in place of a failure.
    """

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._ask(args, kwargs).value  # type: ignore[return-value]

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Fetcher[P, R]: ...

    @overload
    def __get__(
        self: Fetcher[Concatenate[Any, Q], R], instance: object, owner: type | None = None
    ) -> Fetcher[Q, R]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else self._bound(instance)

    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> FetcherOutcome[R]:
        """The same as a call, with where the value comes from, its age, and what went wrong.

        Raises nothing but TypeError, for arguments that are none of the function's or no part of a key.
        """
        self._called(args, kwargs)
        try:
            return self._ask(args, kwargs)
        except Exception as error:
            return FetcherOutcome(None, None, None, error)

    def peek(self, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """The value while it is fresh, else None. Loads nothing and takes no slot."""
        return run(self._look(self.cache_key(*args, **kwargs)))

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Load the value now, fresh as it may be, if the limit allows it; else the one that is there.

        Raises as a call does, where there is none.
        """
        return self._ask(args, kwargs, needed=LONGEST_SECONDS).value  # type: ignore[return-value]

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the value, also one that is being loaded; True when there was one."""
        return self._tools.cache.delete(self.cache_key(*args, **kwargs))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> QueuedCall[R]:
        """Have a worker of dramatiq's broker call it, once the source has a slot; the value is cached then.

        The broker is that of ``dramatiq.set_broker``. Arguments go through its encoder: as JSON.

        Raises:
          TypeError: arguments that are none of the function's, or no part of a key; a method of an instance.
          RedisUnreachable: there is no queue without Redis, where the broker is tbcache's.
        """
        # dramatiq takes long to import, and whoever enqueues nothing need not wait for that.
        import dramatiq

        message, broker = self._message(args, kwargs), dramatiq.get_broker()
        placed = run(broker.place(message)) if isinstance(broker, Places) else None
        if placed is None:
            broker.enqueue(message)
        return QueuedCall(message, placed, functools.partial(self, *args, **kwargs))

    def work(self, slot: str | None, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it as a worker does, with the slot that its job came with."""
        return self._loaded(self._ask(args, kwargs, needed=_needed(slot), slot=slot))

    def prewarm(self, calls: Iterable[Any]) -> int:
        """Load what is not fresh of these calls, here and now; how many values that were.

        A call is an argument, a tuple of them, or a dict by name. It takes the part of the limits that
        prewarming may use, and waits for nothing: what finds no slot, or fails, is left out.

        Raises:
          TypeError: ``calls`` is one call; arguments that are none of the function's, or no part of a key.
            Nothing is loaded then.
        """
        return sum(self._warm(one) for one in _checked(self, calls))

    def _ask(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        lane: Lane = "interactive",
        needed: float = 0.0,
        slot: str | None = None,
    ) -> FetcherOutcome[R]:
        given, key = (*self._owner, *args), self._called(args, kwargs)

        def call(send_by: float) -> Coroutine[Any, Any, Any]:
            with until(send_by):
                return _ready(self._function(*given, **kwargs))

        if not needed and not slot and (kept := self._recall(key)) is not None:
            return kept
        return _successful(self._outcome(run(self._travel(key, call, lane, needed, slot))))

    def _warm(self, arguments: Arguments) -> bool:
        try:
            return self._ask(*arguments, lane="prewarm").origin == "live"
        except Exception:
            return False  # The pipeline has logged why.


class AsyncFetcher(_Function[P, R]):
    """An ``async`` function whose calls fetch from a source: a :class:`Fetcher` whose methods are awaited.

    The function runs in the loop of its caller, and is cancelled where it does not end within the lease
    (``TBCACHE_LEASE_SECONDS``). Tasks that want the same share one call of it, which is cancelled when the
    last of them is.
    """

    def __init__(self, function: Callable[..., Any], setup: Setup) -> None:
        super().__init__(function, setup)
        self._shared = SharedLoads()
        mark_coroutine_function(self)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return (await self._ask(args, kwargs)).value  # type: ignore[return-value]

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> AsyncFetcher[P, R]: ...

    @overload
    def __get__(
        self: AsyncFetcher[Concatenate[Any, Q], R], instance: object, owner: type | None = None
    ) -> AsyncFetcher[Q, R]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else self._bound(instance)

    async def outcome(self, *args: P.args, **kwargs: P.kwargs) -> FetcherOutcome[R]:
        """See :meth:`Fetcher.outcome`."""
        self._called(args, kwargs)
        try:
            return await self._ask(args, kwargs)
        except Exception as error:
            return FetcherOutcome(None, None, None, error)

    async def peek(self, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """See :meth:`Fetcher.peek`."""
        return await drive(self._look(self.cache_key(*args, **kwargs)))

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """See :meth:`Fetcher.refresh`."""
        return (await self._ask(args, kwargs, needed=LONGEST_SECONDS)).value  # type: ignore[return-value]

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """See :meth:`Fetcher.invalidate`."""
        return await drive(self._tools.cache.core.delete(self.cache_key(*args, **kwargs)))

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> AsyncQueuedCall[R]:
        """See :meth:`Fetcher.enqueue`."""
        message = await asyncio.to_thread(self._message, args, kwargs)
        import dramatiq

        broker = dramatiq.get_broker()
        placed = await drive(broker.place(message)) if isinstance(broker, Places) else None
        if placed is None:
            await asyncio.to_thread(broker.enqueue, message)
        return AsyncQueuedCall(message, placed, functools.partial(self, *args, **kwargs))

    def work(self, slot: str | None, *args: P.args, **kwargs: P.kwargs) -> R:
        """See :meth:`Fetcher.work`; it runs in a loop of its own."""
        return self._loaded(asyncio.run(self._ask(args, kwargs, needed=_needed(slot), slot=slot)))

    async def prewarm(self, calls: Iterable[Any]) -> int:
        """See :meth:`Fetcher.prewarm`."""
        return sum([await self._warm(one) for one in _checked(self, calls)])

    async def _ask(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        lane: Lane = "interactive",
        needed: float = 0.0,
        slot: str | None = None,
    ) -> FetcherOutcome[R]:
        given, key = (*self._owner, *args), self._called(args, kwargs)

        async def call(send_by: float) -> Any:
            left = max(0.0, send_by - now())
            try:
                async with asyncio.timeout(left) as bound:
                    return await self._function(*given, **kwargs)
            except TimeoutError as error:
                if not bound.expired():
                    raise
                raise TimeoutError(
                    f"{self._setup.source.name}: {self._setup.name}() was not over within the {left:.3g} s "
                    "that its slot may take, a part of TBCACHE_LEASE_SECONDS"
                ) from error

        if not needed and not slot and (kept := self._recall(key)) is not None:
            return kept

        async def travel() -> Answered[Timed[R]] | Exception:
            try:
                return await drive(self._travel(key, call, lane, needed, slot))
            except Exception as error:
                return error  # Raised by the load, it would collect the traces of all who share that.

        # Two calls share a load where they ask for the same value in the same way, and nothing is known to
        # have been removed in between.
        news = self._tools.pipeline.admission.memory.news(key)
        found, is_shared = await self._shared.run((key, lane, needed, slot, news), travel)
        if is_shared:
            # What one has, he may change; and an error has the traces and notes of those who raise it.
            found = own_copy(found) if isinstance(found, Exception) else self._read_anew(found)
        return _successful(self._outcome(found))

    def _read_anew(self, answered: Answered[Timed[R]]) -> Answered[Timed[R]]:
        return answered._replace(value=self._values.decode(answered.value.payload))

    async def _warm(self, arguments: Arguments) -> bool:
        try:
            return (await self._ask(*arguments, lane="prewarm")).origin == "live"
        except Exception:
            return False  # The pipeline has logged why.


def _needed(slot: str | None) -> float:
    """For how many seconds the value of a job has to stay fresh; one with a slot is given no old one."""
    return 0.0 if slot else FRESH_SECONDS


def _encoded(value: Timed[Any], payload: bytes) -> Encoded:
    return Encoded(payload)


async def _ready(value: T) -> T:
    """Return ``value`` when it is awaited; it was made before, where it could raise anything."""
    return value


def _successful(outcome: FetcherOutcome[R]) -> FetcherOutcome[R]:
    """``outcome``; raises its error where there is no value."""
    if outcome.origin is None and outcome.error is not None:
        raise outcome.error
    return outcome


def _source_of(function: object) -> str | None:
    """The name of the source that a fetcher fetches from; None for any other function."""
    return function._setup.source.name if isinstance(function, _Function) else None


def _checked(function: _Function[..., Any], calls: Iterable[Any]) -> list[Arguments]:
    """The arguments of ``calls``, each of which has a key."""
    if isinstance(calls, str | bytes | Mapping):
        # Its letters, or names, would be taken for arguments, and each would cost a slot.
        raise TypeError(f"prewarm was given {quoted(calls)}, which is one call: give it a list of calls")
    found = [_arguments(one) for one in calls]
    for args, kwargs in found:
        function._called(args, kwargs)
    return found


def _arguments(call: Any) -> Arguments:
    if isinstance(call, tuple):
        return call, {}
    return ((), call) if isinstance(call, dict) else ((call,), {})
