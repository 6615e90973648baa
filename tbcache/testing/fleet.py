"""A fleet of simulated processes, for tests of functions that fetch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import ModuleType
from typing import TYPE_CHECKING, Self

from tbcache.models.error import InvalidRequest
from tbcache.models.extra import need
from tbcache.models.untrusted import quoted
from tbcache.testing.duration import checked

if TYPE_CHECKING:
    from tbcache.testing.simulated.process import SimulatedProcess


class SimulatedFleet:
    """Processes that share one Redis server, all of them in this thread and in virtual time.

        with SimulatedFleet(seed=7) as fleet:
            calls = [fleet.process().call(quote, "AAPL") for _ in range(3)]
            prices = [call.result() for call in calls]

    tbcache and its Redis scripts are the real ones. Clocks, chance, threads, the network and the server are
    simulated and follow from ``seed``: the same seed gives the same course of events.

    It runs functions that block: of sources that are declared in code, ``@cached`` ones, and what uses the
    cache manager or a rate limiter. Event loops and HTTP are not simulated: a function says what its upstream
    does, and takes its time by :meth:`sleep`. Seconds that are no time raise InvalidRequest.
    """

    def __init__(
        self, seed: int = 0, *, variables: Mapping[str, str] | None = None, modules: Iterable[ModuleType] = ()
    ) -> None:
        """``variables`` are settings, as in the environment. In ``modules``, which are yours, ``time``,
        ``threading``, ``random``, ``uuid`` and ``secrets`` are simulated ones as well meanwhile.

        Raises:
          MissingExtra: the extra ``simulated`` is not installed.
          InvalidRequest: ``seed`` is no whole number.
        """
        if not isinstance(seed, int):
            raise InvalidRequest(f"the seed of a simulated fleet is a whole number, not {quoted(seed)}")
        need("a simulated fleet", "lupa")
        # It is imported here, because it comes with an extra.
        from tbcache.testing.simulated.fleet import Fleet

        self._fleet = Fleet(seed, variables or {})
        self._modules = tuple(modules)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._fleet.attached(self._modules))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def now(self) -> float:
        """Seconds since the fleet began."""
        return self._fleet.kernel.now

    @property
    def digest(self) -> str:
        """A hash of all that Redis was asked so far, in its order: one seed gives one hash on any Python."""
        return self._fleet.digest

    def process(self, name: str = "") -> SimulatedProcess:
        """One more process, in which nothing runs yet."""
        return self._fleet.begin(name)

    def advance(self, seconds: float) -> None:
        """Let so much time pass.

        Raises:
          TbcacheError: a thread of tbcache ended by an error meanwhile, which is a bug.
          InvalidRequest: ``seconds`` is no time.
        """
        self._fleet.advance(checked(seconds, "advance"))

    def sleep(self, seconds: float) -> None:
        """Take so much time, as a slow upstream does, in a function that a process calls.

        Raises:
          InvalidRequest: it is not called there, or ``seconds`` is no time.
        """
        if self._fleet.kernel.current is None:
            raise InvalidRequest("sleep() is for functions that simulated processes call; here use advance()")
        self._fleet.kernel.sleep(checked(seconds, "sleep"))

    def stop_redis(self, seconds: float) -> None:
        """Let nobody reach Redis for so long; it is back with all it had."""
        self._fleet.stop_server(checked(seconds, "stop_redis"))

    def empty_redis(self) -> None:
        """Redis loses all it has, as after a restart without its file."""
        self._fleet.server.load(({}, {}))
