"""Puts the real core into a simulated world: its clocks, chance, threads and sockets are the world's.

Nothing of the core is written anew. Each module that has one of these in its namespace gets the world's in
its place, wherever the module lies. A thread of the real world that happens to run meanwhile gets its own.
"""

from __future__ import annotations

import concurrent.futures
import os
import random
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from types import ModuleType
from typing import Any, Protocol

import dramatiq.common
import dramatiq.message

import tbcache.models.error
from tbcache.io.background import BackgroundThread
from tbcache.limiter.machine import _machine as real_machine
from tbcache.limiter.marker import Marker, is_alive
from tbcache.store.node import Node
from tests.simulation import sync
from tests.simulation.chance import Chance
from tests.simulation.kernel import START, Home, here


class Host(Home, Protocol):
    """A process, as far as its code can tell."""

    pid: int
    machine: str
    chance: Chance
    #: How far its wall clock is off, and where its monotonic one began (seconds).
    skew: float
    began: float

    def node(self, url: str, timeout: float) -> Any: ...
    def marker(self, fleet: str, member: str) -> Any: ...
    def is_alive(self, pid: int) -> bool: ...


def _home() -> Any:
    """The process whose code runs; None in a thread of the real world."""
    kernel = here()
    return None if kernel is None else kernel.home


class _Module:
    """What is not simulated is the module's own."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Time(_Module):
    def monotonic(self) -> float:
        kernel, home = here(), _home()
        return time.monotonic() if kernel is None or home is None else kernel.now + float(home.began)

    def time(self) -> float:
        kernel, home = here(), _home()
        return time.time() if kernel is None or home is None else START + kernel.now + float(home.skew)

    def sleep(self, seconds: float) -> None:
        kernel = here()
        (time if kernel is None else kernel).sleep(seconds)


class _Uuid(_Module):
    def uuid4(self) -> uuid.UUID:
        home = _home()
        return uuid.uuid4() if home is None else uuid.UUID(hex=home.chance.token(16), version=4)


class _Secrets(_Module):
    def token_hex(self, size: int = 32) -> str:
        home = _home()
        return secrets.token_hex(size) if home is None else str(home.chance.token(size))


class _Random(_Module):
    def uniform(self, low: float, high: float) -> float:
        home = _home()
        return random.uniform(low, high) if home is None else float(home.chance.uniform(low, high))


class _Os(_Module):
    def getpid(self) -> int:
        home = _home()
        return os.getpid() if home is None else int(home.pid)


class _Threading(_Module):
    def __getattr__(self, name: str) -> Any:
        simulated = {"Lock": sync.Lock, "Condition": sync.Condition, "Event": sync.Event}
        return getattr(threading, name) if here() is None else simulated.get(name, getattr(threading, name))


class _Datetime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(_TIME.time(), UTC).astimezone(tz)


def _machine() -> str:
    home = _home()
    return real_machine() if home is None else str(home.machine)


def _node(url: str, timeout: float) -> Any:
    home = _home()
    return Node(url, timeout) if home is None else home.node(url, timeout)


def _marker(fleet: str, member: str) -> Any:
    home = _home()
    return Marker(fleet, member) if home is None else home.marker(fleet, member)


def _is_alive(pid: int) -> bool:
    home = _home()
    return is_alive(pid) if home is None else bool(home.is_alive(pid))


def _thread(name: str, step: Any) -> Any:
    return (BackgroundThread if _home() is None else sync.Thread)(name, step)


def _pool(*arguments: Any, **options: Any) -> Any:
    kind = concurrent.futures.ThreadPoolExecutor if _home() is None else sync.Pool
    return kind(*arguments, **options)


class _Future:
    def __class_getitem__(cls, _: Any) -> type[_Future]:
        return cls

    def __new__(cls) -> Any:
        return concurrent.futures.Future() if _home() is None else sync.Future()


_TIME, _UUID = _Time(time), _Uuid(uuid)
#: What stands in place of a module, or of what a module may have imported by name.
_INSTEAD: dict[Any, Any] = {
    time: _TIME,
    uuid: _UUID,
    secrets: _Secrets(secrets),
    random: _Random(random),
    os: _Os(os),
    threading: _Threading(threading),
    BackgroundThread: _thread,
    Node: _node,
    Marker: _marker,
    is_alive: _is_alive,
    real_machine: _machine,
    concurrent.futures.ThreadPoolExecutor: _pool,
    concurrent.futures.Future: _Future,
}
#: The same, where it has another form.
_FOREIGN: list[tuple[ModuleType, str, Any]] = [
    (dramatiq.message, "uuid", _UUID),
    (dramatiq.message, "time", _TIME),
    (dramatiq.common, "time", _TIME.time),
    (tbcache.models.error, "datetime", _Datetime),
]
#: These have nothing to do with what is simulated.
_REAL = (
    "tbcache.io.background",
    "tbcache.settings.log",
    "tbcache.simulator",
    "tbcache.testing",
    "tbcache.cli",
)


@contextmanager
def attached() -> Iterator[None]:
    """Code of the core that a world runs lives in it meanwhile."""
    changes = [*_changes(), *_FOREIGN]
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _changes() -> Iterator[tuple[ModuleType, str, Any]]:
    instead = {id(one): other for one, other in _INSTEAD.items()}
    for name, module in list(sys.modules.items()):
        if name.startswith(("tbcache.", "scheduler.")) and not name.startswith(_REAL):
            for attribute, value in list(vars(module).items()):
                if id(value) in instead:
                    yield module, attribute, instead[id(value)]
