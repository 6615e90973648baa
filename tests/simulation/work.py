"""What a worker does with the jobs that it takes, of a source's queue and of one that no source paces."""

from __future__ import annotations

import functools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.middleware import Retries, SkipMessage

from tbcache.io import run
from tbcache.models.error import InvalidRequest, RateLimited, UpstreamError
from tbcache.queue import Cancelled, PacingBroker
from tbcache.queue.cancel import interruptible
from tbcache.queue.job import actor_name
from tbcache.settings import LONGEST_SECONDS
from tbcache.testing.simulated.kernel import MICROS, Task
from tests.simulation.job import NEARLY, Jobs
from tests.simulation.oracle import PLAIN

if TYPE_CHECKING:
    from tests.simulation.process import Process

# Middleware says which jobs it gives up.
logging.getLogger("dramatiq").addHandler(logging.NullHandler())

WORKER_THREADS = 3
#: So often a job of the plain queue is tried again, after so many milliseconds at least and at most.
MOST_RETRIES, LEAST_MS, MOST_MS = 2, 200, 1000
#: What a symbol begins with that no upstream knows.
UNKNOWN = "X"
#: The actor that asks the source itself.
CALL = "call"
#: An answer is under way for no longer (s): so much earlier is a stamp in Redis than its process knows.
LATEST_ANSWER = 0.3
#: A process knows the server's time as well as this (s).
CLOCK_ERROR = 0.5


class Failed(Exception):
    """A job of the plain queue has failed."""


class Work:
    """The broker of one process, and the jobs that it carries out, where it is a worker."""

    def __init__(self, process: Process) -> None:
        world = process.world
        self._process, self._world = process, world
        self.broker = PacingBroker(
            process.store,
            replace(world.settings, caller=process.name),
            [world.source],
            middleware=[Retries(max_retries=MOST_RETRIES, min_backoff=LEAST_MS, max_backoff=MOST_MS)],
            claim_seconds=world.claim_seconds,
        )
        errors = (InvalidRequest, RateLimited, UpstreamError)
        source = world.source.name
        declare = functools.partial(dramatiq.actor, broker=self.broker)
        declare(actor_name=actor_name(source), queue_name=source, throws=errors)(_fetch)
        declare(actor_name="work", queue_name=PLAIN)(_work)
        declare(actor_name=CALL, source=source)(_call)
        self.broker.context.on_unanswered = process.callers.fail
        self._consumers: list[Any] = []
        #: The claims of the jobs that run, by their threads.
        self.claims: dict[Task | None, str] = {}

    def begin(self) -> None:
        """Take jobs from now on."""
        broker, oracle = self.broker, self._world.oracle
        if not self._world.shape.is_shown:
            # Its user of Redis may not listen to any channel.
            broker.context.presence.show = _nothing  # type: ignore[method-assign]
        queues = [(self._world.source.name, oracle.jobs)]
        queues += [(PLAIN, oracle.plain)] if self._world.shape.is_plain else []
        broker.threads.open(WORKER_THREADS)
        for name, jobs in queues:
            consumer = broker.consume(name, prefetch=2 * WORKER_THREADS, timeout=1000)
            self._consumers.append(consumer)
            self._process.spawn("consumer", functools.partial(self._consume, consumer, jobs))

    def end(self) -> None:
        """Take no more, and wait for those that were begun."""
        self.broker.threads.close()
        while self.broker.threads.busy:
            self._world.kernel.sleep(0.05)
        for consumer in self._consumers:
            consumer.close()

    @property
    def presence(self) -> Any:
        """The connection by which Redis knows that the worker is there."""
        return self.broker.context.presence

    def _consume(self, consumer: Any, jobs: Jobs) -> None:
        while not self._world.is_closing:
            message = next(consumer)
            if message is not None:
                self._process.spawn("job", functools.partial(self._run, consumer, jobs, message))
            else:
                self._world.kernel.sleep(1e-6)

    def _run(self, consumer: Any, jobs: Jobs, message: Any) -> None:
        """Carry a job out as dramatiq's worker does."""
        claim, task = message.claim.decode(), self._world.kernel.current
        self.claims[task] = claim
        try:
            self.broker.emit_before("process_message", message)
            result = interruptible(self._carry_out)(message)
            jobs.ran.add(claim)
            self.broker.emit_after("process_message", message, result=result)
            self._check_loaded(message, result)
        except SkipMessage:
            jobs.ran.add(claim)
            self.broker.emit_after("skip_message", message)
        except (InvalidRequest, RateLimited, UpstreamError, Failed, Cancelled) as error:
            jobs.ran.add(claim)
            self._process.check_error(error)
            self.broker.emit_after("process_message", message, exception=error)
            self._check_counted(message, error, claim in jobs.failures)
        finally:
            del self.claims[task]
        (consumer.nack if message.failed else consumer.ack)(message)

    def _carry_out(self, message: Any) -> Any:
        if message.actor_name == CALL:
            return self._call(message, **message.kwargs)
        if not message.is_fetch:
            return self._work(message, **message.kwargs)
        self._check_time(message)
        return self._fetch(message.options["slot"], **message.kwargs)

    def _fetch(
        self, slot: str, symbol: str, hours: int, lane: str, needed: float = 0.0, after: float = 0.0
    ) -> Any:
        if symbol.startswith(UNKNOWN) and self._process.chance.happens(0.7):
            raise InvalidRequest(f"nobody knows {symbol}")
        needed = LONGEST_SECONDS if after else needed
        return run(self._process.fetch(symbol, 0.0, needed=needed, slot=slot, lane=lane))

    def _check_loaded(self, message: Any, outcome: Any) -> None:
        """What is done was loaded after the moment that was asked for."""
        world, after = self._world, message.kwargs.get("after", 0.0)
        if message.is_cancelled or not after or message.finish.what != "done" or world.oracle.is_clock_set:
            return
        load = world.upstream.load_in(outcome)
        at = world.kernel.begins_at + load.began_us / MICROS
        if at < after - NEARLY:
            world.broken("fresh after", f"{load.key} is done, and was loaded {after - at:.3f} s too early")

    def _check_time(self, message: Any) -> None:
        """A pre-warm whose time is past is not carried out."""
        world, until = self._world, message.options.get("valid_until")
        late = world.server.now_us() / MICROS - (until or 0.0)
        is_late = until and message.kwargs["lane"] == "prewarm" and late > CLOCK_ERROR
        if is_late and not world.oracle.is_clock_set:
            world.broken("valid until", f"{self._process.name} loads {late:.3f} s too late")

    def _check_counted(self, message: Any, error: Exception, is_counted: bool) -> None:
        """Whose job is over without an answer is counted; a pre-warm is nobody's."""
        is_asked = message.kwargs.get("lane") != "prewarm"
        end = message.finish
        # Of one that was given away nothing is heard here, its failure neither.
        is_heard = end is not None and end.result is not None and end.result.failure is not None
        is_over = is_heard and end.what == "done" and not message.is_cancelled
        if isinstance(error, UpstreamError) and is_asked and is_over and not is_counted:
            self._world.broken(
                "failures", f"nobody counts that {message.claim.decode()} has no answer: {error}"
            )

    def _work(self, message: Any, fails: int) -> None:
        """``fails`` times it fails."""
        self._run_for(self._process.chance.uniform(0.01, 0.6), message)
        retries = message.options.get("retries", 0)
        if retries < fails:
            raise Failed(f"{fails - retries} times more")

    def _call(self, message: Any, seconds: float) -> None:
        """Send a request of one's own at some moment of it: the job's slot is held until it is over."""
        at = self._process.chance.uniform(seconds / 2, seconds)
        self._world.kernel.after(at, functools.partial(self._arrive, message))
        self._run_for(seconds, message)

    def _arrive(self, message: Any) -> None:
        """The request is there, unless the job is over, or its process may have been silent for too long."""
        process, world = self._process, self._world
        claim = message.claim.decode()
        is_running = (
            claim in self.claims.values() and not process.is_dead and claim not in world.oracle.jobs.lapsed
        )
        held_until = message.holds_until() - world.claim_seconds + world.lease - LATEST_ANSWER
        if (
            is_running
            and message.slot
            and process.now() < held_until
            and process.frozen_until <= world.kernel.now_us
        ):
            world.upstream.arrive(process.name)

    def _run_for(self, seconds: float, message: Any) -> None:
        """Stand in one call for so long, after which whoever is told to stop does so."""
        self._world.kernel.sleep(seconds)
        if message.is_cancelled:
            self._world.broken("cancelled", f"{self._process.name} goes on with {message.claim.decode()}")


def _fetch(
    symbol: str, hours: int = 24, lane: str = "interactive", needed: float = 0.0, after: float = 0.0
) -> None:
    """Stands for the actor that fetches: what is sent to it is checked by this."""


def _work(fails: int) -> None:
    """Stands for an actor of somebody's own."""


def _call(seconds: float) -> None:
    """Stands for an actor of somebody's own that asks the source itself."""


def _nothing() -> None:
    """What is done where nothing is."""
