"""Virtual time, and the tasks that live in it: one runs at a time, and chance decides which is next.

A task is either a coroutine, or a plain function in a thread of its own, which hands the turn
back wherever it would block. Either way nothing runs beside it, and the same seed gives the same order.
"""

from __future__ import annotations

import contextvars
import functools
import heapq
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, ClassVar, Protocol

from tbcache.models.error import TbcacheError
from tbcache.testing.simulated.chance import Chance

#: Seconds since 1970 at which a world begins: 8:00 of a day.
START = 1_800_000_000
MICROS = 1_000_000
Resume = Callable[[], None]
#: A thread that is found at one instruction by so many looks in a row waits for something real. Looks are
#: counted, and not seconds: a machine that is busy, or was stopped, gives as little time to whoever looks.
STANDS_LOOKS, LOOK_SECONDS = 150, 0.2


class _Here(threading.local):
    """The kernel of the world that a thread runs; None in all other threads."""

    kernel: Kernel | None = None


_HERE = _Here()


def here() -> Kernel | None:
    """The kernel of the world that this thread runs; None in a thread of the real world."""
    return _HERE.kernel


@contextmanager
def inhabited(kernel: Kernel) -> Iterator[None]:
    """This thread runs the world of that kernel."""
    before, _HERE.kernel = _HERE.kernel, kernel
    try:
        yield
    finally:
        _HERE.kernel = before


class Killed(BaseException):
    """The process is no more: whatever it was about to do, it does not."""


class Stuck(Exception):
    """Nothing can happen any more, or far too much has."""


class Home(Protocol):
    """The process that tasks belong to."""

    name: str
    is_dead: bool
    #: How fast its clocks are.
    rate: float
    #: Nothing of it runs until then (us).
    frozen_until: int

    def when_thawed(self, act: Callable[[], None]) -> None:
        """Call ``act`` as soon as the process runs again; maybe twice."""


class Task:
    """Something that runs, stops where it waits, and goes on."""

    def __init__(self, kernel: Kernel, home: Home, name: str) -> None:
        self.kernel, self.home, self.name = kernel, home, name
        self.is_over = False
        self.error: BaseException | None = None
        #: Somebody waits for it, and is told what it raises.
        self.is_awaited = False
        #: Which wait it is in; what comes for an earlier one comes too late.
        self.ticket = 0
        #: The moment at which the server carried out its last command (us).
        self.done_at = 0
        self._watchers: list[Callable[[], None]] = []

    def on_end(self, act: Callable[[], None]) -> None:
        if self.is_over:
            act()
        else:
            self._watchers.append(act)

    def resume(self, ticket: int, value: Any = None, error: BaseException | None = None) -> None:
        """Let it go on, if it still waits for that."""
        if self.is_over or ticket != self.ticket:
            return
        if self.home.frozen_until > self.kernel.now_us and not isinstance(error, Killed):
            self.home.when_thawed(lambda: self.resume(ticket, value, error))
            return
        self.ticket += 1
        before, self.kernel.current = self.kernel.current, self
        try:
            self._step(value, error)
        finally:
            self.kernel.current = before

    def kill(self) -> None:
        self.resume(self.ticket, error=Killed())

    def _step(self, value: Any, error: BaseException | None) -> None:
        raise NotImplementedError

    def _end(self, error: BaseException | None) -> None:
        self.is_over, self.error = True, error
        self.kernel.ended(self)
        for act in self._watchers:
            act()


class Fiber(Task):
    """A function in a thread, which runs only while the kernel waits for it."""

    def __init__(
        self,
        kernel: Kernel,
        home: Home,
        name: str,
        work: Callable[[], object],
        context: contextvars.Context,
    ) -> None:
        super().__init__(kernel, home, name)
        self._work: Callable[[], object] | None = work
        self._context = context
        self._turn, self._back = _closed(), _closed()
        self._value: Any = None
        self._raised: BaseException | None = None
        #: What another thread has raised in it, as soon as its wait is over.
        self._interruption: BaseException | None = None
        #: The thread that carries it.
        self._thread = 0

    def _step(self, value: Any, error: BaseException | None) -> None:
        self._value, self._raised = value, error
        if self._work is not None:
            work, self._work = self._work, None
            if error is not None:
                self._end(error)
                return
            _Carrier.of(self, work)
        else:
            self._turn.release()
        if not self._back.acquire(timeout=LOOK_SECONDS):
            self._await_back()
        if self.is_over:
            self._end(self.error)

    def _await_back(self) -> None:
        """Wait for the turn for as long as the thread does anything.

        Raises:
          TbcacheError: it waits for something real, as for a lock of a task that has no turn meanwhile.
        """
        stood_at, looks = self._stands_at, 1
        while not self._back.acquire(timeout=LOOK_SECONDS):
            stands_at = self._stands_at
            looks = looks + 1 if stands_at is not None and stands_at == stood_at else 1
            stood_at = stands_at
            if looks == STANDS_LOOKS:
                place = _place(sys._current_frames()[self._thread])
                # What the thread does from now on is no part of the world.
                self._thread = 0
                self._end(Killed())
                raise TbcacheError(
                    f"{self.home.name} waits for something real at {place}: for a lock that is held over "
                    "fleet.sleep(), or in a call of its own; give the module there as one of `modules`"
                )

    def interrupt(self, thread: int, error: BaseException) -> None:
        """Raise ``error`` in it as soon as its wait is over, where it is ``thread`` that carries it."""
        if thread == self._thread:
            self._interruption = error

    @property
    def _stands_at(self) -> tuple[CodeType, int] | None:
        """The instruction at which its thread is; None before it has one."""
        frame = sys._current_frames().get(self._thread)
        return None if frame is None else (frame.f_code, frame.f_lasti)

    def carry(self, work: Callable[[], object]) -> None:
        """Run all of it, in its thread."""
        _HERE.kernel, self._thread = self.kernel, threading.get_ident()
        try:
            self._context.run(work)
        except BaseException as error:
            if self._is_ours:
                self.error = error
        if self._is_ours:
            self.is_over = True
            self._back.release()

    @property
    def _is_ours(self) -> bool:
        """False in a thread that was given up."""
        return self._thread == threading.get_ident()

    def suspend(self) -> Any:
        """Wait, in its thread, until it is resumed."""
        if not self._is_ours:
            raise Killed
        self._back.release()
        self._turn.acquire()
        error, interruption = self._raised, self._interruption
        self._raised = self._interruption = None
        for one in (error, interruption):
            if one is not None:
                raise one
        return self._value


def _place(frame: FrameType) -> str:
    """The file and line of the code that is no part of Python's own library."""
    here: FrameType = frame
    while here.f_globals.get("__name__", "").partition(".")[0] in sys.stdlib_module_names and here.f_back:
        here = here.f_back
    return f"{here.f_code.co_filename}:{here.f_lineno}"


def _closed() -> threading.Lock:
    """A lock that nobody gets before it is released, once: the quickest way to wait that there is."""
    lock = threading.Lock()
    lock.acquire()
    return lock


class _Carrier:
    """A thread that carries one fiber after the other."""

    _idle: ClassVar[list[_Carrier]] = []

    def __init__(self) -> None:
        self._wanted = _closed()
        self._job: tuple[Fiber, Callable[[], object]] | None = None
        threading.Thread(target=self._run, daemon=True).start()

    @classmethod
    def of(cls, fiber: Fiber, work: Callable[[], object]) -> None:
        carrier = cls._idle.pop() if cls._idle else cls()
        carrier._job = fiber, work
        carrier._wanted.release()

    def _run(self) -> None:
        while True:
            self._wanted.acquire()
            job, self._job = self._job, None
            if job is None:
                continue
            fiber, work = job
            # Idle from here on: by the time that it is wanted again, the kernel has the turn.
            fiber.carry(functools.partial(self._carry, work))

    def _carry(self, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            self._idle.append(self)


class Kernel:
    """The clock and what is to happen, in the order of time; of what happens at once, by chance."""

    def __init__(self, chance: Chance, most_events: int = 400_000) -> None:
        self.now_us = 0
        #: The moment at which the world begins (s since 1970).
        self.begins_at = START
        self.current: Task | None = None
        #: Whose code runs outside of any task.
        self.visitor: Home | None = None
        #: Called with each task that has ended.
        self.ended: Callable[[Task], None] = lambda task: None
        self.tasks: dict[Task, None] = {}
        self._chance = chance
        self._events: list[tuple[int, int, int, Callable[[], None]]] = []
        self._count = 0
        self._most = most_events

    @property
    def now(self) -> float:
        return self.now_us / MICROS

    @property
    def home(self) -> Home | None:
        """The process whose code runs."""
        return self.current.home if self.current is not None else self.visitor

    @property
    def task(self) -> Task:
        """What runs at this moment, and may wait."""
        if self.current is None:
            raise RuntimeError("only a task can wait")
        return self.current

    @property
    def host(self) -> Home:
        """The process whose code runs, where it must be that of one."""
        if self.home is None:
            raise RuntimeError("this is no process's code")
        return self.home

    @contextmanager
    def visiting(self, home: Home) -> Iterator[None]:
        """What runs meanwhile, which waits for nothing, is code of that process."""
        before, self.visitor = self.visitor, home
        try:
            yield
        finally:
            self.visitor = before

    def at(self, when_us: int, act: Callable[[], None]) -> None:
        self._count += 1
        order = self._chance.below(1 << 20)
        heapq.heappush(self._events, (max(when_us, self.now_us), order, self._count, act))

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.at(self.now_us + micros(seconds), act)

    def after_by(self, home: Home, seconds: float, act: Callable[[], None]) -> None:
        """:meth:`after`, by the clock of that process."""
        self.after(max(0.0, seconds) / home.rate, act)

    def spawn(
        self, home: Home, name: str, work: Callable[[], object], context: contextvars.Context | None = None
    ) -> Task:
        """Run a function that may block."""
        return self._begin(Fiber(self, home, name, work, context or contextvars.Context()))

    def _begin(self, task: Task) -> Task:
        self.tasks[task] = None
        task.on_end(lambda: self.tasks.pop(task, None))
        ticket = task.ticket
        self.at(self.now_us, lambda: task.resume(ticket))
        return task

    def kill(self, home: Home) -> None:
        """End all tasks of a process, wherever they stand."""
        home.is_dead = True
        for task in [task for task in self.tasks if task.home is home]:
            task.kill()

    def interrupt(self, thread: int, error: BaseException) -> None:
        """Raise ``error`` in what a thread runs, as soon as that waits for nothing."""
        for task in self.tasks:
            if isinstance(task, Fiber):
                task.interrupt(thread, error)

    def wait(self) -> Any:
        """Wait, in a fiber, until the task is resumed with the ticket that it has now."""
        task = self.task
        if not isinstance(task, Fiber):
            raise RuntimeError("a coroutine cannot wait as a thread does")
        if task.home.is_dead:
            raise Killed
        return task.suspend()

    def sleep(self, seconds: float) -> None:
        """Let so much time pass, in a fiber."""
        task = self.task
        ticket = task.ticket
        self.after_by(task.home, seconds, lambda: task.resume(ticket))
        self.wait()

    def run(self, until_us: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let all happen that is to happen until then."""
        while self._events and self._events[0][0] <= until_us and not is_over():
            if self._count > self._most:
                raise Stuck(f"more than {self._most} events")
            when, _, _, act = heapq.heappop(self._events)
            self.now_us = max(self.now_us, when)
            act()
        if not is_over():
            self.now_us = max(self.now_us, until_us)

    def end(self) -> None:
        """Nothing runs any more."""
        for home in {id(task.home): task.home for task in self.tasks}.values():
            self.kill(home)
        self._events.clear()


def micros(seconds: float) -> int:
    """Whole microseconds, never less than that."""
    return max(0, -int(-seconds * MICROS // 1))
