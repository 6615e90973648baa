"""What wakes the consumers of one process that have nothing to do.

A consumer asks for jobs when it has a cause to: its bell rings, since a job came; a moment comes that the
last answer named; or a look at all queues of the process, every now and then, finds what nobody rang for,
such as the jobs of a worker that died. One connection blocks for the bells of all queues; in a cluster, where
the queues lie in different hash slots, one for each.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from tbcache.io import now, run
from tbcache.io.background import BackgroundThread
from tbcache.io.fork import renew_in_child
from tbcache.queue.script import LOOK, LookForJobs, QueueKeys
from tbcache.store import Store, Unavailable
from tbcache.store.wire import MICROS

#: For how long the reader blocks while some consumers do not listen: none of their bells is taken meanwhile,
#: as another process may have an idle thread.
SLICE_SECONDS = 0.1
#: A consumer that listened so long ago is asking for jobs now, and listens again if there is none.
ASKING_SECONDS = 0.05
#: A consumer that was woken has asked and listens again by then, or has no thread, or the machine is busy.
ASKED_SECONDS = 0.005
PAUSE_SECONDS = 0.25
#: What blocks may end so much before its time, by another clock.
EARLY_SECONDS = 0.05
#: The reader ends when nobody has listened for so long.
UNUSED_SECONDS = 2.0


class Alarm:
    """When the consumer of one queue is to ask for jobs."""

    def __init__(
        self,
        keys: QueueKeys,
        lock: threading.Lock,
        listening: threading.Condition,
        start: Callable[[], object],
    ) -> None:
        """``listening`` is notified as the consumer begins to listen, and ``start`` called before."""
        self.keys = keys
        self._changed, self._listening, self._start = threading.Condition(lock), listening, start
        self._is_rung = False
        #: By the last answer, and by the last look.
        self._ask_at = self._look_at = -math.inf
        self._is_listening = False
        self._listened_at = -math.inf

    @property
    def is_due(self) -> bool:
        """Whether there is a cause to ask now."""
        return self._is_rung or now() >= min(self._ask_at, self._look_at)

    @property
    def is_attended(self) -> bool:
        """Whether the consumer listens, or is just asking."""
        return self._is_listening or now() - self._listened_at < ASKING_SECONDS

    def begin(self) -> None:
        """The consumer asks: what rings from now on is another cause."""
        self._is_rung = False

    def set(self, seconds: float) -> None:
        """There is nothing more to be had for so many seconds, unless the bell rings."""
        with self._changed:
            self._ask_at, self._look_at = now() + seconds, math.inf

    def set_off(self) -> None:
        """There may be more to be had now."""
        self._ask_at = -math.inf

    def ring(self) -> None:
        """A job came. Where the consumer listens, it has asked for it by then, and listens again."""
        with self._changed:
            self._is_rung = True
            self._changed.notify_all()
            if self._is_listening:
                # The interpreter is the consumer's, and then the job's: two threads that ask at the same time
                # wait for each other.
                self._changed.wait(ASKED_SECONDS)

    def find(self, seconds: float) -> None:
        """A look says that there is a cause to ask in so many seconds."""
        with self._changed:
            self._look_at = now() + seconds
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """True once there is a cause to ask; False where there is none in so many seconds."""
        if self.is_due:
            return True
        self._start()
        until = now() + seconds
        with self._changed:
            self._is_listening = True
            self._listening.notify_all()
            self._changed.notify_all()
            while not self.is_due and now() < until:
                self._changed.wait(min(self._ask_at, self._look_at, until) - now())
            self._is_listening, self._listened_at = False, now()
            return self.is_due

    def give_up(self) -> bool:
        """No thread is free to ask with. True where another process should: it was not told of the job.
        The cause stays, for when a thread comes free."""
        with self._changed:
            is_known_here_only = self._is_rung or self._ask_at > -math.inf
            self._is_rung, self._ask_at = False, -math.inf
            return is_known_here_only


class Bells:
    """The alarms of several queues of one process, and the one connection that blocks for their bells."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.renew()
        renew_in_child(self)
        self._thread = BackgroundThread("tbcache-bells", self._round)

    def renew(self) -> None:
        """Begin without consumers, as a forked child does, which has none of its parent's."""
        self._lock = threading.Lock()
        #: Notified as a consumer begins to listen.
        self._listening = threading.Condition(self._lock)
        self._alarms: dict[str, Alarm] = {}
        self._look_seconds = math.inf
        self._look_at = math.inf

    def join(self, queue: str, keys: QueueKeys, look_seconds: float) -> Alarm:
        """The alarm of a queue, which is looked at each ``look_seconds`` at least."""
        with self._lock:
            self._look_seconds = min(self._look_seconds, look_seconds)
            new = Alarm(keys, self._lock, self._listening, self._thread.start)
            alarm = self._alarms.setdefault(queue, new)
        alarm.set_off()
        return alarm

    def leave(self, queue: str) -> None:
        """Nobody listens for the queue any more."""
        with self._lock:
            self._alarms.pop(queue, None)
            if self._alarms:
                return
        self._thread.stop(timeout=0.0)

    def pass_on(self, alarm: Alarm) -> None:
        """Ring the bell for another process."""
        # In one message: a process that ends after half of it would leave a key without a TTL.
        bell = alarm.keys.bell
        run(self._store.pipeline(("RPUSH", bell, "1"), ("EXPIRE", bell, 60)))

    def _round(self) -> float | None:
        alarms = self._attended()
        if not alarms:
            return 0.0 if self._await_listener() else None
        try:
            is_broken = self._listen(alarms)
            if is_broken or now() >= self._look_at:
                self._look(alarms)
        except Unavailable:
            # They find out by themselves when Redis is back.
            for alarm in alarms.values():
                alarm.ring()
            return PAUSE_SECONDS
        return PAUSE_SECONDS if is_broken else 0.0

    def _attended(self) -> dict[str, Alarm]:
        with self._lock:
            return {queue: alarm for queue, alarm in self._alarms.items() if alarm.is_attended}

    def _await_listener(self) -> bool:
        with self._listening:
            is_any = any(alarm._is_listening for alarm in self._alarms.values())
            return is_any or self._listening.wait(UNUSED_SECONDS)

    def _listen(self, alarms: dict[str, Alarm]) -> bool:
        """Block for their bells; True where that ended before its time without one."""
        self._look_at = min(self._look_at, now() + self._look_seconds)
        seconds = max(0.001, self._look_at - now())
        if len(alarms) < len(self._alarms):
            seconds = min(seconds, SLICE_SECONDS)
        queues = {alarm.keys.bell: queue for queue, alarm in alarms.items()}
        until = now() + seconds
        bell = self._store.pop_list(list(queues), seconds)
        if bell is not None:
            self._ring(queues[bell], alarms[queues[bell]])
        return bell is None and now() < until - EARLY_SECONDS

    def _ring(self, queue: str, alarm: Alarm) -> None:
        alarm = self._alarms.get(queue, alarm)
        if queue in self._alarms:
            alarm.ring()
        else:
            # Its consumer was closed meanwhile.
            self.pass_on(alarm)

    def _look(self, alarms: dict[str, Alarm]) -> None:
        self._look_at = now() + self._look_seconds
        parts = tuple(part for alarm in alarms.values() for part in _looked_at(alarm.keys))
        found = self._store.run(LOOK, LookForJobs(parts))
        for alarm, moment in zip(alarms.values(), found.moments, strict=True):
            alarm.find(max(0.0, (moment - found.now) / MICROS) if moment >= 0 else math.inf)


def _looked_at(keys: QueueKeys) -> tuple[str, ...]:
    return (keys.interactive, keys.prewarm, keys.suspects, keys.delayed, keys.claims)
