"""What whoever has queued the call of a fetcher holds: where it stands, and its value once it is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from tbcache.io import run
from tbcache.io.loop import drive
from tbcache.models.job import EnqueueState, Explanation

if TYPE_CHECKING:
    from dramatiq import Message

R = TypeVar("R")


class Placed(Protocol):
    """A job in a queue of tbcache's broker: a :class:`tbcache.QueuedJob`."""

    @property
    def job_id(self) -> str: ...

    @property
    def state(self) -> EnqueueState: ...

    async def explanation(self) -> Explanation: ...

    async def over(self, timeout: float | None = None) -> None: ...


@runtime_checkable
class Places(Protocol):
    """A broker that says what became of what is queued: a :class:`tbcache.PacingBroker`."""

    async def place(self, message: Any) -> Placed: ...


class _Queued(Generic[R]):
    """The common part of sync and async ones.

    ``state`` is "queued" where a job is queued for the call, "joined" where one of the same call was queued
    before, and "hit" where its value was in the cache. ``message`` is dramatiq's, with the ``message_id``,
    ``options`` and ``get_result`` of it: a call that has joined another is that job's, by ``job_id``.
    """

    def __init__(self, message: Message[Any], placed: Placed | None) -> None:
        self.message = message
        self._placed = placed

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.queue} {self.job_id} {self.state}>"

    @property
    def queue(self) -> str:
        """The name of the queue: the source's."""
        return self.message.queue_name

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return self.message.message_id if self._placed is None else self._placed.job_id

    @property
    def state(self) -> EnqueueState:
        """What became of the ask."""
        return "queued" if self._placed is None else self._placed.state

    @property
    def is_new(self) -> bool:
        """False where no job was queued for it: there was one, or the value."""
        return self.state == "queued"

    @property
    def starts_at(self) -> datetime | None:
        """None: ``explain()`` asks for it, and so does :func:`tbcache.enqueue_many`."""
        return None

    @property
    def _job(self) -> Placed:
        if self._placed is None:
            raise TypeError(
                "the broker of dramatiq.set_broker says nothing of its jobs: "
                "dramatiq.set_broker(tbcache.get_broker())"
            )
        return self._placed


class QueuedCall(_Queued[R]):
    """A queued call of a :class:`tbcache.Fetcher`: what ``quote.enqueue("AAPL")`` gives."""

    def __init__(self, message: Message[Any], placed: Placed | None, call: Callable[[], R]) -> None:
        super().__init__(message, placed)
        self._call = call

    def explain(self) -> Explanation:
        """Where the job stands now, which limit it waits for, and when it will start.

        Raises:
          RedisUnreachable: there is no queue without Redis. TypeError: the broker is not tbcache's.
        """
        return run(self._job.explanation())

    def result(self, timeout: float | None = None) -> R:
        """Wait until the job is over, ``timeout`` seconds at most (None: until it is), and call the fetcher:
        the value is cached then, and is loaded here only where it is kept no longer.

        Raises:
          ResultTimeout: it is not over in time; the job goes on.
          TbcacheError: it died, or was cancelled. Else what a call raises.
          RedisUnreachable, TypeError: as :meth:`explain`.
        """
        run(self._job.over(timeout))
        return self._call()


class AsyncQueuedCall(_Queued[R]):
    """A queued call of a :class:`tbcache.AsyncFetcher`: a :class:`QueuedCall` whose methods are awaited."""

    def __init__(
        self, message: Message[Any], placed: Placed | None, call: Callable[[], Awaitable[R]]
    ) -> None:
        super().__init__(message, placed)
        self._call = call

    async def explain(self) -> Explanation:
        """See :meth:`QueuedCall.explain`."""
        return await drive(self._job.explanation())

    async def result(self, timeout: float | None = None) -> R:
        """See :meth:`QueuedCall.result`."""
        await drive(self._job.over(timeout))
        return await self._call()
