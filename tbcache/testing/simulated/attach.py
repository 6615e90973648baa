"""Puts the real core into a simulated world: its clocks, chance, threads and sockets are the world's.

Nothing of the core is written anew. Each module that has one of these in its namespace gets the world's in
its place, wherever the module lies. A thread of the real world that happens to run meanwhile gets its own.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import importlib
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

from tbcache.io.singleton import singleton
from tbcache.testing.simulated import sync
from tbcache.testing.simulated.kernel import here


def _home() -> Any:
    """The :class:`Host` whose code runs; None in a thread of the real world, and outside of all processes."""
    kernel = here()
    return None if kernel is None else kernel.home


class _Own:
    """Stands for an attribute of an object that all processes of a world would share: each has its own."""

    def __init__(self, real: cached_property[Any]) -> None:
        self._real = real

    def __get__(self, instance: Any, owner: type) -> Any:
        home, name = _home(), self._real.attrname
        if home is None:
            return self._real.__get__(instance, owner)
        return home.one_of((instance, name), lambda: self._real.func(instance))

    def __set__(self, instance: Any, value: Any) -> None:
        # A descriptor with this goes before what the object holds.
        raise AttributeError(self._real.attrname)


class _Module:
    """What is not simulated is the module's own."""

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
    @property
    def environ(self) -> Any:
        home = _home()
        return self.__getattr__("environ") if home is None else home.environ

    def getpid(self) -> int:
        home = _home()
        return os.getpid() if home is None else int(home.pid)


class _AtExit(_Module):
    """A process that is killed does nothing more."""

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


def _core_of(name: str) -> Any:
    """What ``package.module:attribute`` is in the real world."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _in_place_of(name: str, simulated: Callable[..., Any]) -> tuple[Any, Callable[..., Any]]:
    """What is called in place of that: ``simulated``, with the process first, and itself outside of all."""
    real = _core_of(name)

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
    # Every process has what modules have declared as they were imported.
    return {**_ONE(self), **made} if isinstance(made, dict) else made


class _Future:
    def __class_getitem__(cls, _: Any) -> type[_Future]:
        return cls

    def __new__(cls) -> Any:
        return concurrent.futures.Future() if _home() is None else sync.Future()


_TIME, _UUID, _ONE = _Time(time), _Uuid(uuid), singleton.__call__
#: The simulated objects that stand for those of the core, wherever they were imported.
_CORE = (
    _in_place_of("tbcache.io.background:BackgroundThread", lambda home, *args: sync.Thread(*args)),
    _in_place_of("tbcache.store.node:Node", lambda home, *args: home.node(*args)),
    _in_place_of("tbcache.limiter.marker:Marker", lambda home, *args: home.marker(*args)),
    _in_place_of("tbcache.limiter.marker:is_alive", lambda home, pid: home.is_alive(pid)),
    _in_place_of("tbcache.limiter.machine:_machine", lambda home: home.machine_name),
    _in_place_of("concurrent.futures:ThreadPoolExecutor", lambda home, *args, **_: sync.Pool(*args)),
)
#: The simulated objects that stand for modules, or for what a module may have imported by name.
_INSTEAD: dict[Any, Any] = {
    time: _TIME,
    uuid: _UUID,
    secrets: _Secrets(secrets),
    random: _Random(random),
    os: _Os(os),
    atexit: _AtExit(atexit),
    threading: _Threading(threading),
    concurrent.futures.Future: _Future,
    **dict(_CORE),
}
_TOOLS = _core_of("tbcache.fetch.function.tools:Tools")
#: The same, where it has another form.
_FOREIGN: list[tuple[Any, str, Any]] = [
    (dramatiq.message, "uuid", _UUID),
    (dramatiq.message, "time", _TIME),
    (dramatiq.common, "time", _TIME.time),
    (importlib.import_module("tbcache.models.error"), "datetime", _Datetime),
    (singleton, "__call__", _one_each),
    # The attributes of a source declared in code that are of its process.
    *((_TOOLS, name, _Own(one)) for name, one in vars(_TOOLS).items() if isinstance(one, cached_property)),
]
_ABSENT = object()
#: These have nothing to do with what is simulated.
_REAL = (
    "tbcache.io.background",
    "tbcache.io.log",
    "tbcache.embedded.simulator",
    "tbcache.testing",
    "tbcache.cli",
)


@contextmanager
def attached(modules: Iterable[ModuleType] = ()) -> Iterator[None]:
    """Code of the core, and of ``modules``, that a world runs lives in it meanwhile."""
    changes = [*_changes([*_loaded(), *modules]), *_FOREIGN]
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


def _loaded() -> list[ModuleType]:
    return [
        module
        for name, module in list(sys.modules.items())
        if name.startswith(("tbcache.", "scheduler.")) and not name.startswith(_REAL)
    ]


def _changes(modules: Iterable[ModuleType]) -> Iterator[tuple[ModuleType, str, Any]]:
    instead = {id(one): other for one, other in _INSTEAD.items()}
    for module in modules:
        for attribute, value in list(vars(module).items()):
            if id(value) in instead:
                yield module, attribute, instead[id(value)]
