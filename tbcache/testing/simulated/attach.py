"""Puts the real core into a simulated world: its clocks, chance, threads and sockets are the world's.

The core itself stays as it is. Where a module has one of these objects in its namespace, the world's takes
its place. A thread of the real world that runs at the same time still gets the real one.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import os
import random
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from types import ModuleType
from typing import Any

import dramatiq.common
import dramatiq.message
import dramatiq.middleware.retries
from dramatiq.middleware.threading import raise_thread_exception

from tbcache.io.background import BackgroundThread
from tbcache.io.blocking import Blocking
from tbcache.io.boundary import BOUNDARY, PROCESS_PROPERTIES
from tbcache.io.singleton import singleton
from tbcache.models import error
from tbcache.testing.simulated import sync
from tbcache.testing.simulated.kernel import here


def _home() -> Any:
    """The :class:`Host` whose code runs; None in a thread of the real world, and outside of all processes."""
    kernel = here()
    return None if kernel is None else kernel.home


class _PerProcess:
    """An attribute with a value for each process, of an object that all processes of a world share."""

    def __init__(self, real: cached_property[Any]) -> None:
        self._real = real

    def __get__(self, instance: Any, owner: type) -> Any:
        home, name = _home(), self._real.attrname
        if home is None:
            return self._real.__get__(instance, owner)
        return home.one_of((instance, name), lambda: self._real.func(instance))

    def __set__(self, instance: Any, value: Any) -> None:
        # A descriptor that can be set goes before the attributes of the object itself.
        raise AttributeError(self._real.attrname)


class _Module:
    """Stands for a module; what is not simulated is taken from the module itself."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Time(_Module):
    def monotonic(self) -> float:
        home = _home()
        return time.monotonic() if home is None else float(home.now())

    def time(self) -> float:
        home = _home()
        return time.time() if home is None else float(home.clock())

    def sleep(self, seconds: float) -> None:
        kernel = here()
        (time if kernel is None else kernel).sleep(seconds)

    perf_counter = monotonic


class _Uuid(_Module):
    def uuid4(self) -> uuid.UUID:
        home = _home()
        return uuid.uuid4() if home is None else uuid.UUID(hex=home.chance.random_id(16), version=4)


class _Secrets(_Module):
    def token_hex(self, size: int = 32) -> str:
        home = _home()
        return secrets.token_hex(size) if home is None else str(home.chance.random_id(size))


class _Random(_Module):
    def uniform(self, low: float, high: float) -> float:
        home = _home()
        return random.uniform(low, high) if home is None else float(home.chance.uniform(low, high))


class _Os(_Module):
    def urandom(self, size: int) -> bytes:
        home = _home()
        return os.urandom(size) if home is None else bytes.fromhex(home.chance.random_id(size))

    @property
    def environ(self) -> Any:
        home = _home()
        return self.__getattr__("environ") if home is None else home.environ

    def getpid(self) -> int:
        home = _home()
        return os.getpid() if home is None else int(home.pid)


class _AtExit(_Module):
    """The handlers of a process: one that is killed runs none of them."""

    def register(self, act: Callable[..., object]) -> object:
        home = _home()
        return atexit.register(act) if home is None else home.at_exit.append(act)

    def unregister(self, act: Callable[..., object]) -> None:
        home = _home()
        if home is None:
            atexit.unregister(act)
        else:
            home.at_exit = [one for one in home.at_exit if one != act]


class _Threading(_Module):
    def __getattr__(self, name: str) -> Any:
        simulated = {"Lock": sync.Lock, "Condition": sync.Condition, "Event": sync.Event}
        return getattr(threading, name) if here() is None else simulated.get(name, getattr(threading, name))


class _Datetime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(_TIME.time(), UTC).astimezone(tz)


def _in_place_of(
    real: Callable[..., Any], simulated: Callable[..., Any]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``real``, and what stands in its place: it calls ``simulated`` with the process that runs as the first
    argument, and ``real`` where no simulated process runs.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        home = _home()
        return real(*args, **kwargs) if home is None else simulated(home, *args, **kwargs)

    return real, call


def _one_each(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Stands for ``singleton.__call__``: each simulated process has its own object."""
    home = _home()
    if home is None:
        return _ONE(self, *args, **kwargs)
    return home.one_of((self, args, *sorted(kwargs.items())), lambda: _one(self, *args, **kwargs))


def _one(self: Any, *args: Any, **kwargs: Any) -> Any:
    made = self.__wrapped__(*args, **kwargs)
    # What modules declared as they were imported is there in each process.
    return {**_ONE(self), **made} if isinstance(made, dict) else made


async def _send(self: Blocking, connections: Any, request: Any, most_bytes: int) -> Any:
    """Stands for ``Blocking.send``, which would ask the real network."""
    if _home() is not None:
        raise error.InvalidRequest(
            "HTTP is not simulated: functions say what upstreams do, or a provider has a `send` of its own"
        )
    return await _SEND(self, connections, request, most_bytes)


def _spawn(self: Blocking, work: Callable[[], Any]) -> None:
    """Stands for ``Blocking.spawn``, which would start a real thread."""
    kernel = here()
    if kernel is None:
        _SPAWN(self, work)
    else:
        kernel.spawn(kernel.host, "background", lambda: self.undo(work))


def _interrupt(thread: int, error: type[BaseException]) -> None:
    """Stands for dramatiq's way to raise an error in another thread."""
    kernel = here()
    if kernel is not None:
        kernel.interrupt(thread, error())


class _Future:
    def __class_getitem__(cls, _: Any) -> type[_Future]:
        return cls

    def __new__(cls) -> Any:
        return concurrent.futures.Future() if _home() is None else sync.Future()


def _no_file(*_: Any) -> Any:
    raise error.InvalidRequest("each simulated process has the simulated Redis: leave its REDIS_URL as it is")


_TIME, _UUID, _RANDOM = _Time(time), _Uuid(uuid), _Random(random)
_ONE, _SEND, _SPAWN = singleton.__call__, Blocking.send, Blocking.spawn
#: What stands for each of the boundary, and is called with the process that runs as the first argument.
_SIMULATED: dict[str, Callable[..., Any]] = {
    "node": lambda home, *args: home.node(*args),
    "marker": lambda home, *args: home.marker(*args),
    "slot_file": _no_file,
    "is_alive": lambda home, pid: home.is_alive(pid),
    "machine_name": lambda home: home.machine_name,
    # What a simulated process does is told to no tracer.
    "tracer": lambda home: None,
    "memory_bytes": lambda home: 0,
}
#: What stands for other objects wherever they were imported: for modules, and for what a module may have
#: imported from one by name.
_INSTEAD: dict[Any, Any] = {
    time: _TIME,
    uuid: _UUID,
    secrets: _Secrets(secrets),
    random: _RANDOM,
    os: _Os(os),
    atexit: _AtExit(atexit),
    threading: _Threading(threading),
    concurrent.futures.Future: _Future,
    **dict(
        (
            _in_place_of(BackgroundThread, lambda home, *args: sync.Thread(*args)),
            _in_place_of(raise_thread_exception, lambda home, *args: _interrupt(*args)),
            _in_place_of(concurrent.futures.ThreadPoolExecutor, lambda home, *args, **_: sync.Pool(*args)),
        )
    ),
}
#: What is replaced in one object alone: the owner, the name of the attribute, and the value for it.
_ATTRIBUTES: list[tuple[Any, str, Any]] = [
    (dramatiq.message, "uuid", _UUID),
    (dramatiq.message, "time", _TIME),
    (dramatiq.common, "time", _TIME.time),
    (dramatiq.common, "uniform", _RANDOM.uniform),
    (dramatiq.middleware.retries, "time", _TIME),
    (error, "datetime", _Datetime),
    (singleton, "__call__", _one_each),
    (Blocking, "send", _send),
    (Blocking, "spawn", _spawn),
]
_ABSENT = object()
#: Modules whose own clocks and threads stay real.
_REAL = (
    "tbcache.io.background",
    "tbcache.io.log",
    "tbcache.embedded.simulator",
    "tbcache.testing",
    "tbcache.cli",
)


@contextmanager
def attached(modules: Iterable[ModuleType] = ()) -> Iterator[None]:
    """Meanwhile, the code of the core and of ``modules`` runs in the world that calls it."""
    changes = [*_changes([*_loaded(), *modules]), *_attributes()]
    before = [(owner, name, vars(owner).get(name, _ABSENT)) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


def _attributes() -> Iterator[tuple[Any, str, Any]]:
    yield from _ATTRIBUTES
    for owner, one in PROCESS_PROPERTIES:
        yield owner, str(one.attrname), _PerProcess(one)


def _loaded() -> list[ModuleType]:
    return [
        module
        for name, module in list(sys.modules.items())
        if name.startswith(("tbcache.", "scheduler.")) and not name.startswith(_REAL)
    ]


def _changes(modules: Iterable[ModuleType]) -> Iterator[tuple[ModuleType, str, Any]]:
    # What reaches into the machine and is not simulated would reach into the real one: a KeyError is better.
    reaching = (_in_place_of(one, _SIMULATED[name]) for name, one in BOUNDARY.items())
    instead = {id(one): other for one, other in (*_INSTEAD.items(), *reaching)}
    for module in modules:
        for attribute, value in list(vars(module).items()):
            if id(value) in instead:
                yield module, attribute, instead[id(value)]
