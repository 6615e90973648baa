"""What a process does with values that no source answers with: the cache's own, and those of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tbcache.cache import CacheManager
from tbcache.fetch.function.function_source import FunctionSource
from tbcache.io import run, world
from tbcache.models import HttpRequest, RawResponse
from tests.simulation.upstream import Load

if TYPE_CHECKING:
    from tests.simulation.process import Process

TTL = 2.0
#: What was set was loaded by nobody: no clear is before it.
NEVER = 10**12


class Joined:
    """The fleet knows the process already."""

    is_due = False


class Refused(Exception):
    """The upstream's answer to a function, as clients raise it."""

    def __init__(self, answer: RawResponse) -> None:
        super().__init__(f"status {answer.status}")
        self.response = _Response(answer)


class _Response:
    def __init__(self, answer: RawResponse) -> None:
        self.status_code, self.headers = answer.status, dict(answer.headers)


class Values:
    """Of one process. Each value is the number of the load that it comes from."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world
        self._cache = CacheManager(process.store, lease_seconds=process.world.settings.lease_seconds).core
        functions = FunctionSource(self._world.source)
        tools: Any = functions._tools
        given = {"pipeline": process.pipeline, "cache": self._cache, "join": Joined}
        process.made.update({(tools, name): one for name, one in given.items()})
        self._quote = functions.fetcher(self._ask_upstream, name="quote")

    async def load(self, name: str) -> None:
        """A value that is loaded once for all, however long that takes."""
        found = _Found(self._process, f"values:{name}")
        lease = self._world.settings.lease_seconds
        slow = 1.5 * lease if self._process.chance.happens(0.15) else 0.3

        async def loader() -> int:
            load = found.begin()
            await world().sleep(self._process.chance.uniform(0.01, slow))
            return load.number

        found.check(await self._cache.get_or_load(found.key, loader, TTL))

    async def set(self, name: str) -> None:
        found = _Found(self._process, f"values:{name}")
        await self._cache.set(found.key, found.begin(NEVER).number, TTL)

    async def delete(self, name: str) -> None:
        found = _Found(self._process, f"values:{name}")
        await self._cache.delete(found.key)
        if found.is_with_redis:
            self._world.oracle.clears.append(
                (found.asked, self._world.oracle.count, found.key, self._process.name)
            )

    async def hide(self, pattern: str) -> None:
        """Clear what matches, in Redis and in this process, and leave its removal to others."""
        await self._cache._hide(pattern)
        self._cache.memory.clear(pattern, in_redis=True)

    async def ask(self, symbol: str) -> None:
        """What a function gives, that fetches from the source."""
        found = _Found(self._process, self._quote.cache_key(symbol))
        try:
            number = await world().offload(lambda: self._quote(symbol))
        except Refused:
            return
        found.check(number)

    def _ask_upstream(self, symbol: str) -> int:
        process = self._process
        provider = process.provider()
        load = self._world.upstream.begin(
            self._quote.cache_key(symbol), process.name, self._world.oracle.count
        )
        answer = run(provider.exchange(HttpRequest("GET", "https://upstream", {"page": "1"})))
        if answer.status != 200:
            raise Refused(answer)
        return load.number


class _Found:
    """One ask for a value, and what may come of it."""

    def __init__(self, process: Process, key: str) -> None:
        self.key, self._process = key, process
        self.asked = process.world.oracle.count
        self._was_with = process.store.is_available

    @property
    def is_with_redis(self) -> bool:
        """Redis was there all the time, as far as is known."""
        return self._was_with and self._process.store.is_available

    def begin(self, began: int | None = None) -> Load:
        world = self._process.world
        return world.upstream.begin(self.key, self._process.name, began or world.oracle.count)

    def check(self, number: object) -> None:
        world = self._process.world
        load = world.upstream.loads.get(number) if isinstance(number, int) else None
        if load is None or load.key != self.key:
            world.broken("value", f"{self._process.name} asked for {self.key}, and was given {number}")
        elif self.is_with_redis and load.process != self._process.name:
            self._process.check_value(load, world.oracle.is_cleared(load.key, load.began, self.asked))
        # What a process is loading is given to all in it, until it has deleted or cleared that itself.
        elif world.oracle.is_cleared(load.key, load.began, self.asked, self._process.name):
            world.broken(
                "cleared", f"{self._process.name} cleared {load.key}, and was given the value of before"
            )
