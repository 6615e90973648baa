"""What blocks a thread, for the fibers of a simulated world: locks, conditions, events, futures, threads."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from typing import Any

from tbcache.testing.simulated.kernel import Kernel, Task, here


def _kernel() -> Kernel:
    kernel = here()
    if kernel is None:
        raise RuntimeError("this thread runs no world")
    return kernel


class Queue:
    """Tasks that wait, first in, first out."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Task, int]] = deque()

    def wait(self, seconds: float | None) -> bool:
        """False where nobody woke it in time."""
        kernel = _kernel()
        task = kernel.task
        ticket = task.ticket
        entry = (task, ticket)
        self._waiting.append(entry)
        if seconds is not None:
            kernel.after_by(task.home, seconds, lambda: task.resume(ticket, False))
        try:
            return bool(kernel.wait())
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def wake(self, count: int) -> None:
        kernel = _kernel()
        while self._waiting and count > 0:
            task, ticket = self._waiting.popleft()
            kernel.at(kernel.now_us, functools.partial(task.resume, ticket, True))
            count -= 1

    def wake_all(self) -> None:
        if self._waiting:
            self.wake(len(self._waiting))


class Lock:
    """A lock that may be held while others run."""

    def __init__(self) -> None:
        self._is_held = False
        self._queue = Queue()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        while self._is_held:
            is_woken = blocking and self._queue.wait(None if timeout < 0 else timeout)
            if self._is_held and not is_woken:
                return False
        self._is_held = True
        return True

    def release(self) -> None:
        self._is_held = False
        if self._queue._waiting:
            self._queue.wake(1)

    def locked(self) -> bool:
        return self._is_held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition:
    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = lock or Lock()
        self._queue = Queue()

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        self._lock.release()
        try:
            return self._queue.wait(timeout)
        finally:
            self._lock.acquire()

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        kernel = _kernel()
        until = None if timeout is None else kernel.now + timeout
        while not (found := predicate()):
            left = None if until is None else until - kernel.now
            if left is not None and left <= 0:
                break
            self.wait(left)
        return found

    def notify(self, n: int = 1) -> None:
        if self._queue._waiting:
            self._queue.wake(n)

    def notify_all(self) -> None:
        self._queue.wake_all()


class Event:
    def __init__(self) -> None:
        self._is_set = False
        self._queue = Queue()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._queue.wake_all()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            self._queue.wait(timeout)
        return self._is_set


class Future:
    """A future as Waiter uses it: it gets a result or an error, once."""

    def __class_getitem__(cls, _: Any) -> type[Future]:
        return cls

    def __init__(self) -> None:
        self._done = Event()
        self._result: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        return self._done.is_set()

    def set_result(self, result: Any) -> None:
        if self.done():
            raise InvalidStateError
        self._result = result
        self._done.set()

    def set_exception(self, error: BaseException) -> None:
        self._error = error
        self._done.set()

    def result(self, timeout: float | None = None) -> Any:
        if not self._done.wait(timeout):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._result


class Pool:
    """What runs in the background."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def submit(self, work: Callable[..., object], *arguments: Any) -> None:
        kernel = _kernel()
        kernel.spawn(kernel.host, "background", lambda: work(*arguments))

    def shutdown(self, wait: bool = True) -> None: ...


class Thread:
    """Stands for ``tbcache.io.background.BackgroundThread``: the same rounds, in virtual time."""

    def __init__(
        self, name: str, step: Callable[[], float | None], end: Callable[[], object] = lambda: None
    ) -> None:
        self.name, self._step, self._end = name, step, end
        kernel = _kernel()
        self._kernel, self._home = kernel, kernel.host
        self._task: Task | None = None
        self._is_wanted = False
        self._stopping = Event()

    @property
    def is_running(self) -> bool:
        return self._task is not None

    @property
    def is_current(self) -> bool:
        return self._task is not None and self._task is self._kernel.current

    @property
    def is_dead(self) -> bool:
        return self._task is not None and self._task.is_over

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def start(self, after: float = 0.0) -> None:
        self._is_wanted = True
        if self._task is None and not self._home.is_dead:
            stopping = self._stopping = Event()
            self._task = self._kernel.spawn(self._home, self.name, lambda: self._run(stopping, after))

    def stop(self, timeout: float = 1.0) -> None:
        task, self._task = self._task, None
        self._stopping.set()
        if task is not None and task is not self._kernel.current and timeout > 0 and not task.is_over:
            over = Event()
            task.on_end(over.set)
            over.wait(timeout)

    def pause(self, seconds: float) -> None:
        self._stopping.wait(max(0.0, seconds))

    def restart(self) -> bool:
        return False

    def _run(self, stopping: Event, after: float) -> None:
        self._go_on(stopping, after)
        # What a process that is killed has open is closed by nobody.
        self._end()

    def _go_on(self, stopping: Event, pause: float | None) -> None:
        while not stopping.wait(pause):
            self._is_wanted = False
            pause = self._step()
            if pause is None:
                if not self._is_wanted:
                    if self.is_current:
                        self._task = None
                    return
                pause = 0.0
            # A round that takes no time must not be the only thing that happens.
            pause = max(pause, 1e-6)
