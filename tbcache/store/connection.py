"""A store: Redis or Valkey with a short temper.

A call waits at most ``timeout`` for the server. The first that fails opens the
breaker: from then on calls fail at once, while a thread of our own asks every
``PROBE_SECONDS`` whether the server is back.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
from redis.retry import Retry

from tbcache.errors import ConfigurationError, RedisUnreachable
from tbcache.log import get_logger
from tbcache.settings import BUILT_IN_NAMES, Settings, get_settings
from tbcache.store.key import Keys
from tbcache.store.own import OwnSlots
from tbcache.store.script import script
from tbcache.store.wire import CLOCK_DRIFT, MICROS, to_micros

log = get_logger("tbcache.store")

PROBE_SECONDS = 0.1
BLOCK_SECONDS = 0.2
#: A connection unused for longer may have been closed by the server.
CHECK_SECONDS = 1.0
LONGEST_BLOCK_SECONDS = 1.0

_AWAY = (
    redis.ConnectionError,
    redis.TimeoutError,
    OSError,
    ReadOnlyError,
    OutOfMemoryError,
    ClusterDownError,
    TryAgainError,
)
_REFUSED = (AuthenticationError, AuthenticationWrongNumberOfArgsError, NoPermissionError)

Argument = str | bytes | int | float


class Unavailable(RedisUnreachable):
    """The store cannot be used now; callers go on without it."""


class Store:
    """One server, its keys and its scripts. Opens no socket before the first call."""

    def __init__(self, settings: Settings) -> None:
        self.keys = Keys(settings.namespace, frozenset((*BUILT_IN_NAMES, *settings.sources)))
        self.address = settings.redis_address
        self.timeout = settings.redis_timeout
        self._url = settings.redis
        self._name = settings.worker_name
        self._lock = threading.Lock()
        self._away_reason: str | None = None if self._url else "no address is configured"
        self._returned: list[Callable[[], None]] = []
        self._cleared: list[Callable[[str], None]] = []
        self._prober: threading.Thread | None = None
        self._own: dict[str, OwnSlots] = {}
        self._epochs: dict[str, str] = {}
        self._ahead: float | None = None
        self._ahead_at = 0.0
        #: How many processes shared the limits when last heard of.
        self.fleet_size = 1
        self._open()

    @property
    def process(self) -> str:
        """How this process is named in figures, heartbeats and epochs."""
        name = self._name or f"{socket.gethostname()}-{os.getpid()}"
        return re.sub(r"[^A-Za-z0-9_.\-]", "-", name)[:64]

    @property
    def is_available(self) -> bool:
        """False from the first call that failed until the server has answered again."""
        return self._away_reason is None

    @property
    def client(self) -> redis.Redis:
        """The pooled client, for plain commands inside :meth:`guard`."""
        self._after_fork()
        return self._client

    def run(self, name: str, keys: Sequence[str | bytes], args: Sequence[Argument]) -> Any:
        """Run a script by its digest: one round trip; two when the server has not seen it.

        Raises:
          Unavailable: the server is away.
        """
        code = script(name)
        try:
            return self.call("EVALSHA", code.sha, len(keys), *keys, *args)
        except NoScriptError:
            return self.call("EVAL", code.text, len(keys), *keys, *args)

    def call(self, *command: Argument) -> Any:
        """One command, straight over a connection: half of what the client's own path costs.

        Bytes stay bytes.

        Raises:
          Unavailable: the server is away. redis.ResponseError: it refuses the command.
        """
        self._check()
        try:
            return self._call(*command)
        except _AWAY as error:
            raise self._away(error) from None

    def wait_for(self, key: str, seconds: float) -> bool:
        """Wait until the list ``key`` has an element, which stays there.

        Returns False after ``seconds``, or a short slice of them: a frozen server must
        hold nobody up.

        Raises:
          Unavailable: the server is away.
        """
        return self.peek_list(key, min(seconds, BLOCK_SECONDS)) is not None

    def peek_list(self, key: str, seconds: float) -> bytes | None:
        """The first element of the list ``key``, which stays there; None after ``seconds`` without one.

        Raises:
          Unavailable: the server is away.
        """
        found: bytes | None = self._block(seconds, "BLMOVE", key, key, "LEFT", "RIGHT")
        return found

    def pop_list(self, key: str, seconds: float) -> bool:
        """Take an element off the list ``key``; False after ``seconds`` without one.

        Raises:
          Unavailable: the server is away.
        """
        return self._block(seconds, "BLPOP", key) is not None

    def _call(self, *command: Argument) -> Any:
        connection = self._checkout()
        try:
            connection.send_packed_command([hiredis.pack_command(cast(Any, command))], check_health=False)
            answer = connection.read_response(disable_decoding=True)
        except redis.ResponseError:
            self._idle.append((connection, time.monotonic()))
            raise
        except BaseException:
            # Half an answer may still come: nobody must read it as his own.
            connection.disconnect()
            raise
        self._idle.append((connection, time.monotonic()))
        return answer

    def _checkout(self) -> Any:
        try:
            connection, idle_since = self._idle.pop()
        except IndexError:
            pool = self._client.connection_pool
            connection = pool.connection_class(**pool.connection_kwargs)
            connection.connect()
            return connection
        if time.monotonic() - idle_since > CHECK_SECONDS and _is_closed(connection):
            connection.disconnect()
            connection.connect()
        return connection

    def _block(self, seconds: float, *command: str) -> Any:
        self._after_fork()
        client = self._blocking if seconds <= BLOCK_SECONDS else self._patient
        with self.guard():
            return cast(Any, client).execute_command(*command, f"{max(seconds, 0.001):.3f}")

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn what a dead server raises into :class:`Unavailable`, and remember it.

        Raises:
          Unavailable: the server is away, or was a moment ago.
        """
        self._check()
        try:
            yield
        except _AWAY as error:
            raise self._away(error) from None

    def _check(self) -> None:
        if self._pid != os.getpid():
            self._after_fork()
        reason = self._away_reason
        if reason is not None and threading.current_thread() is not self._prober:
            raise Unavailable(self.address, reason)

    def _away(self, error: Exception) -> Unavailable:
        self._lost(error)
        return Unavailable(self.address, _reason(error))

    def require(self) -> None:
        """Check that the server answers and lets us in.

        Raises:
          ConfigurationError: it refuses the user or the password.
          RedisUnreachable: it does not answer.
        """
        if not self._url:
            raise RedisUnreachable(self.address, "no address is configured")
        try:
            self.client.ping()
        except _REFUSED as error:
            raise ConfigurationError(
                f"Redis at {self.address} refuses the login ({error}); "
                "check REDIS_PASSWORD or the password in REDIS_URL"
            ) from None
        except _AWAY as error:
            raise RedisUnreachable(self.address, _reason(error)) from None

    def own(self, source: str) -> OwnSlots:
        """The slots of ``source`` that this process has taken."""
        return self._own.setdefault(source, OwnSlots())

    def epoch(self, source: str) -> str:
        """The epoch of the source's window that this process has seen, "" for none."""
        return self._epochs.get(source, "")

    def learn_epoch(self, source: str, epoch: str) -> None:
        """Take note of the epoch in force; a new one means that Redis lost the window: mend it."""
        if self._epochs.setdefault(source, epoch) != epoch:
            # Away again, it is mended at the next return.
            with contextlib.suppress(Unavailable):
                self.restore(source)

    def restore(self, source: str) -> None:
        """Put this process's own slots of ``source`` into the shared window.

        Raises:
          Unavailable: the server is away.
        """
        own = self.own(source)
        slots = [part for slot, age in own.ages() for part in (slot, to_micros(age))]
        epoch, _ = self.run(
            "restore",
            [self.keys.slots(source), self.keys.state(source), self.keys.back(source)],
            [
                to_micros(own.horizon),
                self.process,
                self.fleet_size,
                self.epoch(source),
                uuid.uuid4().hex,
                *slots,
            ],
        )
        self._epochs[source] = epoch.decode()

    def time_us(self) -> float | None:
        """The server's time by our clock; None before it is known."""
        return None if self._ahead is None else (time.monotonic() + self._ahead) * MICROS

    def deadline_us(self) -> int:
        """When an ask made now is past, in the server's time; 0 before that is known."""
        now_us = self.time_us()
        return 0 if now_us is None else round(now_us + self.timeout * MICROS)

    def learn_time(self, now_us: int, asked_at: float) -> None:
        """Compare the server's clock, as it answered what was asked at ``asked_at``, with ours.

        One that jumped makes every stamp wrong by as much: the windows are given up, and
        each process puts back its own slots by its own clock.
        """
        before, since = self._ahead, self._ahead_at
        self._ahead, self._ahead_at = now_us / MICROS - asked_at, asked_at
        if before is None:
            return
        slack = self.timeout + CLOCK_DRIFT * (asked_at - since)
        if abs(self._ahead - before) > slack:
            log.warning("redis.clock_jumped", seconds=round(self._ahead - before, 3))
            with contextlib.suppress(Unavailable):
                self._give_up_windows()

    def _give_up_windows(self) -> None:
        for source, epoch in list(self._epochs.items()):
            keys = [self.keys.slots(source), self.keys.state(source)]
            self.run("lose", keys, [epoch, uuid.uuid4().hex])
            self.restore(source)

    def check_epochs(self) -> None:
        """Look whether Redis has lost a window that this process has sent in, or its clock jumped.

        Raises:
          Unavailable: the server is away.
        """
        with self.guard():
            pipe: Any = self.client.pipeline(transaction=False)
            seen, asked_at = list(self._epochs.items()), time.monotonic()
            pipe.time()
            for source, _ in seen:
                pipe.hget(self.keys.state(source), "epoch")
            (seconds, micros), *epochs = pipe.execute()
            self.learn_time(seconds * MICROS + micros, asked_at)
            for (source, epoch), found in zip(seen, epochs, strict=True):
                if found is None or found.decode() != epoch:
                    self.restore(source)

    def on_return(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` each time the server is back, before anyone else uses it again.

        One that raises :class:`Unavailable` is called again at the next try.
        """
        self._returned.append(callback)

    def on_clear(self, callback: Callable[[str], None]) -> None:
        """Call ``callback`` with the pattern whenever this process clears cache keys."""
        self._cleared.append(callback)

    def cleared(self, pattern: str) -> None:
        """Tell everyone in this process that the keys of ``pattern`` are to be forgotten."""
        for callback in self._cleared:
            callback(pattern)

    def close(self) -> None:
        """Close every connection; every call after that raises Unavailable."""
        self._closed = True
        self._away_reason = "closed"
        self._disconnect()
        self._blocking.close()
        self._patient.close()

    def _open(self) -> None:
        self._closed = False
        self._pid = os.getpid()
        url = self._url or "redis://127.0.0.1:1/0"
        self._client = _client(url, self.timeout)
        self._blocking = _client(url, self.timeout + BLOCK_SECONDS)
        self._patient = _client(url, self.timeout + LONGEST_BLOCK_SECONDS)
        self._idle: deque[tuple[Any, float]] = deque()

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            # Neither the connections nor the thread that asks for the server came along.
            self._lock = threading.Lock()
            self._prober = None
            self._away_reason = None if self._url else "no address is configured"
            self._open()

    def _lost(self, error: Exception) -> None:
        with self._lock:
            if self._away_reason is not None or self._closed:
                return
            self._away_reason = _reason(error)
            self._prober = threading.Thread(target=self._probe, name="tbcache-probe", daemon=True)
            self._prober.start()
        log.warning("redis.lost", address=self.address, reason=self._away_reason)

    def _probe(self) -> None:
        pause = threading.Event()
        while not self._closed:
            pause.wait(PROBE_SECONDS)
            if self._is_back():
                with self._lock:
                    self._away_reason = None
                log.info("redis.returned", address=self.address)
                return

    def _disconnect(self) -> None:
        while self._idle:
            self._idle.pop()[0].disconnect()
        self._client.connection_pool.disconnect()

    def _is_back(self) -> bool:
        """Ask the server, then let everyone put right what went on without it."""
        try:
            self._disconnect()
            self._client.ping()
            for source in list(self._own):
                self.restore(source)
            for callback in self._returned:
                callback()
        except (redis.RedisError, OSError, Unavailable):
            return False
        return True


@functools.cache
def get_store() -> Store:
    """The store of this process, as its settings say."""
    return Store(get_settings())


def _is_closed(connection: Any) -> bool:
    """True when there is something to read where nothing was asked: the end, that is."""
    try:
        return bool(connection.can_read(timeout=0))
    except (redis.ConnectionError, redis.TimeoutError, OSError):
        return True


def _client(url: str, timeout: float) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return "no answer in time"
    text = str(error).strip().rstrip(".")
    if "refused" in text.lower():
        return "connection refused"
    return text[:120] or type(error).__name__
