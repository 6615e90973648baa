"""One load at a time: callers who want the same share it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any


class _Abandoned(Exception):
    """The loading thread was told to end, which is nothing to those who wait for it."""


class Flights:
    """Loads under way, by key; in threads and in tasks of an event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads: dict[str, tuple[Future[Any], int]] = {}
        self._tasks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Task[Any]]] = (
            weakref.WeakKeyDictionary()
        )

    def share(self, key: str, load: Callable[[], Any]) -> Any:
        """Run ``load``, or wait for the thread that does; its exception is everyone's."""
        while True:
            mine: Future[Any] = Future()
            with self._lock:
                future, owner = self._loads.setdefault(key, (mine, threading.get_ident()))
            if future is mine:
                return self._fly(key, mine, load)
            # A load that asks for its own key would wait for itself.
            if owner == threading.get_ident():
                return load()
            try:
                return future.result()
            except _Abandoned:
                continue

    async def share_async(self, key: str, load: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Await ``load``, or the task that runs it; a caller who is cancelled does not end it."""
        with self._lock:
            tasks = self._tasks.setdefault(asyncio.get_running_loop(), {})
        while (task := tasks.get(key)) is not None:
            if task is asyncio.current_task():
                return await load()
            await asyncio.wait([task])
            # One that was cancelled is nothing to those who wait for it.
            if not task.cancelled():
                return task.result()
        task = tasks[key] = asyncio.create_task(load())
        task.add_done_callback(lambda _: tasks.pop(key))
        return await asyncio.shield(task)

    def _fly(self, key: str, mine: Future[Any], load: Callable[[], Any]) -> Any:
        try:
            value = load()
            mine.set_result(value)
            return value
        except Exception as error:
            mine.set_exception(error)
            raise
        except BaseException:
            mine.set_exception(_Abandoned())
            raise
        finally:
            with self._lock:
                del self._loads[key]
