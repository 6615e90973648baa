"""A store: Redis or Valkey with a short temper.

A call waits at most the timeout of the settings for the server. What happens once one fails is said in
breaker.py.

An answer that is about one key or one command fails that call alone.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import redis
from redis.client import PubSub
from redis.exceptions import AskError, NoScriptError

from tbcache.io import Mutex, run, world
from tbcache.io.fork import renew_in_child
from tbcache.io.log import get_logger
from tbcache.io.singleton import singleton
from tbcache.settings import BUILT_IN_NAMES, Settings, get_settings
from tbcache.store.breaker import Breaker, Refused, Unavailable
from tbcache.store.clock import ServerClock
from tbcache.store.cluster import Cluster
from tbcache.store.denied import Denied
from tbcache.store.fault import (
    AWAY,
    in_cluster,
    is_bug,
    is_of_call,
    may_be_done,
    reason_of,
)
from tbcache.store.key import Keys
from tbcache.store.layout import OtherLayout, agree
from tbcache.store.node import Node
from tbcache.store.refusal import Refusals
from tbcache.store.script import Argument, Script
from tbcache.store.sentinel import watched_by
from tbcache.store.server import PROBE, TIME, AskTime, Probe
from tbcache.store.today import Today
from tbcache.store.waiter import Waiter
from tbcache.store.wire import MICROS

log = get_logger("tbcache.store")

C = TypeVar("C", bound=tuple[Any, ...])
R = TypeVar("R")
T = TypeVar("T")

PROBE_TTL_MS = 10_000


class Store:
    """One server or one cluster, its keys and its scripts. Opens no socket before the first call.

    Whatever asks the server raises Unavailable where it is away, and Refused where it refuses this alone.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.namespace, frozenset((*BUILT_IN_NAMES, *settings.sources)))
        self.address = settings.redis_address
        self._url = settings.redis
        #: True where this process is a command: without any Redis it shares the limits with its user's others
        #: (limiter/local_window.py).
        self.is_command = False
        #: Whether it may be used, and what is done when it is back.
        self.breaker = Breaker(
            self.address,
            settings.redis_timeout,
            is_configured=self.is_shared,
            greet=self._greet,
        )
        #: The server's time.
        self.clock = ServerClock(self._ask_time, settings.redis_timeout, is_cluster=settings.redis_cluster)
        #: The keys of the present day.
        self.today = Today(self.keys, self.clock)
        self._denied = Denied()
        self._beside: dict[Callable[[Store], Any], Any] = {}
        self._open()
        renew_in_child(self)

    def renew(self) -> None:
        """Begin anew in a forked child: neither the connections nor the thread that asks for the server came
        along."""
        self.breaker.renew()
        self.clock.renew()
        self._open()

    @property
    def is_available(self) -> bool:
        """False from the first call that failed until the server has answered again."""
        return self.breaker.reason is None

    @property
    def is_shared(self) -> bool:
        """False where no address is configured: this process has nobody to share with."""
        return bool(self._url)

    def beside(self, kind: Callable[[Store], T]) -> T:
        """The one ``kind(store)`` of this store, made when it is first asked for."""
        found = self._beside.get(kind)
        if found is None:
            with self._placing:
                found = self._beside.get(kind) or self._beside.setdefault(kind, kind(self))
        return cast(T, found)

    async def ask(self, script: Script[C, R], call: C) -> R:
        """Run a script by its digest: one round trip; two when the server has not seen it.

        Raises:
          Unavailable: the server is away. Refused: it stumbles over what a key holds.
        """
        if not self.is_ready():
            await self.ready()
        return script.read(await self._run(script, script.pack(call)))

    def command(self, *command: Argument) -> Coroutine[Any, Any, Any]:
        """The answer to one command. Bytes stay bytes.

        Raises:
          Unavailable: the server is away. Refused: it refuses this command only.
        """
        return self.send(command)

    async def send(self, command: Sequence[Argument]) -> Any:
        """The same, for one that is kept, and packed already (tbcache.io.command)."""
        if not self.is_ready():
            await self.ready()
        try:
            return await world().call(self._server, command)
        except AskError:
            raise in_cluster(self.address) from None
        except AWAY as error:
            raise self._failed(error) from None

    async def pipeline(self, *commands: Sequence[Argument]) -> list[Any]:
        """The answers to several commands, in one round trip; an error that is about one key or one command
        stands for its answer, see :meth:`refused`."""
        if not self.is_ready():
            await self.ready()
        try:
            answers = await world().pipeline(self._server, commands) if commands else []
        except AWAY as error:
            raise self._failed(error) from None
        for answer in answers:
            if isinstance(answer, AskError):
                raise in_cluster(self.address)
            if isinstance(answer, Exception) and not is_of_call(answer, is_script=False):
                raise self._failed(answer)
        return answers

    async def first(self, key: str, seconds: float) -> bytes | None:
        """The first element of the list ``key``, which stays there; None after ``seconds`` without one."""
        await self.ready()
        return await self._waiter.first(key, seconds)

    async def scan(self, match: str, count: int) -> AsyncIterator[list[bytes]]:
        """The keys that match a glob, in pages for which the server looks at about ``count`` keys each."""
        await self.ready()
        with self._failing():
            nodes = self._server.primaries()
        for node in nodes:
            cursor: Argument = 0
            while cursor != b"0":
                with self._failing():
                    cursor, page = await world().call(node, ("SCAN", cursor, "MATCH", match, "COUNT", count))
                yield page

    async def ready(self) -> None:
        """Raise Unavailable where nothing would be sent now."""
        if not self.is_ready():
            await self._agree()

    def run(self, script: Script[C, R], call: C) -> R:
        """:meth:`ask`, for threads."""
        return run(self.ask(script, call))

    def run_directly(self, script: Script[C, R], call: C) -> R:
        """The same where each microsecond counts: nothing is awaited, which costs as much as the rest."""
        if not self.is_ready():
            run(self._agree())
        packed = script.pack(call)
        try:
            try:
                answer = self._server.call("EVALSHA", script.sha, *packed)
            except NoScriptError:
                answer = self._server.call("EVAL", script.text, *packed)
        except AskError:
            raise in_cluster(self.address) from None
        except AWAY as error:
            raise self._failed(error, script, _source(packed[1])) from None
        return script.read(answer)

    def call(self, *command: Argument) -> Any:
        """:meth:`command`, for threads."""
        return run(self.command(*command))

    def execute(self, *commands: Sequence[Argument]) -> list[Any]:
        """:meth:`pipeline`, for threads."""
        return run(self.pipeline(*commands))

    def change(self, *commands: Sequence[Argument]) -> list[Any]:
        """:meth:`execute`, where none of them may be refused.

        Raises:
          Unavailable: the server is away. Refused: it refuses one; the others are carried out all the same.
        """
        answers = self.execute(*commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise self.refused(answer)
        return answers

    def refused(self, answer: Exception) -> Unavailable:
        """What to raise for an error in place of an answer, as :meth:`pipeline` gives it."""
        return self._failed(answer)

    async def _run(self, script: Script[Any, Any], packed: Sequence[Argument]) -> Any:
        try:
            try:
                return await world().call(self._server, ("EVALSHA", script.sha, *packed))
            except NoScriptError:
                return await world().call(self._server, ("EVAL", script.text, *packed))
        except AskError:
            raise in_cluster(self.address) from None
        except AWAY as error:
            raise self._failed(error, script, _source(packed[1])) from None

    def pop_list(self, keys: Sequence[str], seconds: float) -> str | None:
        """Take an element off the first of some lists that has one, which is named; None after ``seconds``
        without one, and where the connection is lost. In a cluster they lie in one hash slot."""
        self.check()
        with self._failing():
            try:
                found = self._server.block(seconds, "BLPOP", *keys)
            except redis.ResponseError as error:
                # The server has ceased to be the one for this list: the caller asks again.
                if str(error).startswith("UNBLOCKED"):
                    return None
                raise
            except (redis.ConnectionError, redis.TimeoutError, OSError):
                # A connection that was lost maybe seconds ago says nothing of the server now; what is asked
                # next does.
                return None
        return None if found is None else found[0].decode()

    async def _first_elements(self, keys: list[str]) -> list[Any]:
        """The first element of each list; None, or an error that is about that key alone, for none."""
        return await self.pipeline(*(("LINDEX", key, 0) for key in keys))

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn what a server raises that does not answer into :class:`Unavailable`, and remember it."""
        try:
            yield
        except AskError:
            raise in_cluster(self.address) from None
        except AWAY as error:
            raise self._failed(error) from None

    def check(self) -> None:
        """Raise Unavailable where a call would not be sent now."""
        if not self.is_ready():
            run(self._agree())

    def is_ready(self) -> bool:
        """False where it is not known yet whether this process may use Redis; raises Unavailable."""
        if self.breaker.reason is None:
            return self.breaker.is_greeted
        self.breaker.check()
        return True

    async def _agree(self) -> None:
        """Find out, before the first call and at each return, whether this process may use what is in Redis.
        layout.py has the rules.

        Raises:
          Unavailable: it may not, or the server is away.
        """
        async with self._agreeing:
            if self.breaker.is_greeted:
                return
            # Another task may have found the server away while this one waited.
            self.breaker.check()
            try:
                server_time = await agree(self.say, self.keys)
            except OtherLayout as error:
                self.breaker.has_other_layout = True
                raise self.breaker.open(error) from None
            except AskError:
                raise in_cluster(self.address) from None
            except AWAY as error:
                raise self.breaker.open(error) from None
            self.breaker.is_greeted, self.breaker.has_other_layout = True, False
        if not self.clock.is_known and not self.settings.redis_cluster:
            await self.clock.learn(*server_time, source="")

    async def say(self, *command: Argument) -> Any:
        """The answer of the server to one command, whether it may be used or not.

        Raises:
          redis.RedisError, OSError: there is none; which of them says why.
        """
        return await world().call(self._server, command)

    def _failed(
        self, error: Exception, script: Script[Any, Any] | None = None, source: str = ""
    ) -> Unavailable:
        """What to raise for an error of the server; ``source`` is whose keys ``script`` was run on."""
        if not is_of_call(error, is_script=script is not None):
            self._denied.lost(error)
            return self.breaker.open(error)
        name = script.name if script is not None else ""
        refused = Refused(self.address, reason_of(error), is_bug=is_bug(error))
        refused.is_timeout = may_be_done(error)
        if refused.is_bug:
            log.error("script.broken", script=name, source=source, reason=refused.reason)
        else:
            log.warning("redis.refused", script=name, source=source, reason=refused.reason)
        if source:
            self.refusals.record(source, name, refused.reason, is_bug=refused.is_bug)
        return refused

    def _greet(self) -> None:
        """Ask whether the server is back, and may be used."""
        self.check()
        with self._failing():
            self._server.check()
        run(self._agree())
        self.probe()

    def probe(self) -> None:
        """Check that the server accepts what our scripts do: one that is full still answers a PING.

        Raises:
          Unavailable: it is away, or refuses; says in which words.
        """
        # Each node of a cluster may refuse on its own; the sources lie all over it.
        sources = self.keys.sources if self.settings.redis_cluster else ("probe",)
        denied: set[str] = set()
        for source in sorted(sources):
            probe = Probe(self.keys.probe(source), PROBE_TTL_MS, self._denied.commands)
            denied.update(self.run(PROBE, probe).denied)
        if self._denied.commands and self._denied.is_as_before(denied):
            raise Unavailable(self.address, self.breaker.reason or "a right is missing", is_refusal=True)

    async def _ask_time(self, source: str) -> int:
        server_time = await self.ask(TIME, AskTime(self.keys.state(source)))
        return server_time.seconds * MICROS + server_time.micros

    def subscribe(self, channel: str | None = None) -> PubSub:
        """A connection on which is told what concerns all (notice.lua), or is said on another channel."""
        self.check()
        with self._failing():
            return self._server.subscribe(channel or self.keys.notices)

    def connection(self, **options: Any) -> Any:
        """A new connection of redis-py's to the server, which is none of a cluster: see
        :meth:`Node.connection`."""
        return cast(Node, self._server).connection(**options)

    def close(self) -> None:
        """Close every connection; every call after that raises Unavailable."""
        self.breaker.close()
        self._waiter.close(Unavailable(self.address, "closed"))
        self._server.close()

    def _open(self) -> None:
        #: What this process is refused of late, for its heartbeat.
        self.refusals = Refusals()
        self._agreeing = Mutex()
        # What stands beside it may need more that does.
        self._placing = threading.RLock()
        url, timeout = self._url or "redis://127.0.0.1:1/0", self.settings.redis_timeout
        self._server: Node | Cluster = (
            Cluster(url, timeout)
            if self.settings.redis_cluster
            else Node(url, timeout, watched_by(self.settings))
        )
        self._waiter = Waiter(self._first_elements, lambda: self.subscribe(self.keys.wakes), timeout)


@singleton
def get_store() -> Store:
    """The store of this process, as its settings say."""
    return Store(get_settings())


def _source(key: Argument) -> str:
    """The hash tag of a key: the source that it belongs to."""
    name = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
    return name.partition("{")[2].partition("}")[0]
