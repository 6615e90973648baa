"""What goes wrong in a world, and what is assumed of it."""

from __future__ import annotations

from typing import Any

from tbcache.testing.simulated.kernel import MICROS, micros
from tests.simulation.process import Process
from tests.simulation.world import World

MOST_PROCESSES = 7
#: A process that comes back tells Redis of what it has sent within so many seconds.
RETURN = 1.5


class Faults:
    """Those of one world."""

    def __init__(self, world: World) -> None:
        self.world, self.kernel, self.server = world, world.kernel, world.server
        #: What Redis held as it was saved, and when that was.
        self.saved: Any = None
        self.saved_us = self._saved_count = 0
        #: And when the latest was that it has come back to.
        self.loaded_us = 0
        self._to_load: Any = None
        #: Of so many commands Redis knows after a loss; None: of none, and has nothing of before.
        self._kept_count: int | None = None
        self._lost_at = -micros(1000.0)
        self._up_at = -micros(1000.0)
        self._storm_until = 0
        self._witnesses: set[str] | None = None
        #: The epoch in which the clock was set forward.
        self._unmended = ""
        self._window = max(limit.window_seconds for limit in world.source.limits)
        self.server.listeners.append(self._watch)

    def cut(self, process: Process, how: str, seconds: float) -> None:
        process.connection.cut = how
        self.kernel.after(seconds, lambda: setattr(process.connection, "cut", ""))

    def freeze(self, process: Process, seconds: float) -> None:
        self.world.upstream.forgo(process.name)
        process.frozen_until = max(process.frozen_until, self.kernel.now_us + micros(seconds))

    def storm(self, seconds: float) -> None:
        """The network is bad."""
        self._storm_until = max(self._storm_until, self.kernel.now_us + micros(seconds))
        weather = self.world.weather
        weather.late, weather.slow, weather.lost = 0.5, 0.4, 0.05
        self.kernel.at(self._storm_until, self._clear_up)

    def _clear_up(self) -> None:
        if self.kernel.now_us >= self._storm_until and not self.world.is_calm:
            fair, weather = self.world.shape.weather, self.world.weather
            weather.late, weather.slow, weather.lost = fair.late, fair.slow, fair.lost

    def begin(self, kind: str, after: float) -> None:
        self.kernel.after(after, lambda: self._begin(kind))

    def _begin(self, kind: str) -> None:
        """One more; assumed of it (docs/limits.md): somebody has noticed what Redis has lost, and one that
        was there before the clock was set forward has asked since."""
        world = self.world
        if world.is_closing or len(world.living) >= MOST_PROCESSES:
            return
        if self._witnesses is not None or self._is_set_forward():
            self.kernel.after(0.3, lambda: self._begin(kind))
        else:
            world.begin(kind)

    def _is_set_forward(self) -> bool:
        """True until one of those who know of it has had the window mended."""
        know = [one for one in self.world.living if one.limiter.epochs.of(self.world.source.name)]
        return self._unmended == self._epoch() != "" and bool(know)

    def _epoch(self) -> str:
        state = self.world.oracle.keys.state(self.world.source.name).encode()
        return (self.server.keyspace.do("HGET", [state, b"epoch"]) or b"").decode()

    def restart(self, seconds: float, saved: Any = None) -> None:
        if not self.server.is_up:
            return
        self.server.stop()
        self._to_load = saved
        self.kernel.after(seconds, self.start_server)

    def start_server(self) -> None:
        if not self.server.is_up:
            saved, self._to_load = self._to_load, None
            self.server.start(saved)
            if saved is not None:
                self.world.oracle.lose(self._kept_count)
            self._up_at = self.kernel.now_us

    def save(self) -> None:
        self.saved, self.saved_us = self.server.keyspace.save(), self.server.now_us()
        self._saved_count = self.world.oracle.count

    def lose(self, saved: Any, saved_us: int, seconds: float) -> None:
        """Redis loses what came after; what is assumed of that moment stands in docs/limits.md."""
        spans = micros(self._window + self.world.lease)
        if not self.server.is_up or self.kernel.now_us < self._lost_at + spans + micros(2.0):
            return
        source, self.world.upstream.is_budget_lost = self.world.source.name, True
        self._lost_at = self.kernel.now_us
        self._kept_count = self._saved_count if saved is self.saved else None
        self.loaded_us = max(self.loaded_us, saved_us)
        self._witnesses = {
            one.name
            for one in self.world.living
            if one.limiter.epochs.of(source) and one.limiter.epochs.last_seen_us(source) > saved_us
        }
        self._await_missing(spans)
        told = [(one, one.limiter.epochs.of(source)) for one in self.world.living]
        self.kernel.at(self.kernel.now_us + spans, lambda: self._check_dead(told, spans))
        if seconds:
            self.restart(seconds, saved)
        else:
            # As after a failover: nobody was away.
            self.server.load(saved)
            self.world.oracle.lose(self._kept_count)

    def _await_missing(self, spans: int) -> None:
        missing = list(self.world.living)
        self.kernel.at(self.kernel.now_us + spans - micros(0.3), lambda: self._bring_back(missing))
        self.kernel.at(self.kernel.now_us + spans, lambda: self._check_back(missing))

    def _bring_back(self, missing: list[Process]) -> None:
        """Who was cut off at the loss is back within a lease and the window."""
        for process in missing:
            process.connection.cut = ""
            process.thaw()
        self.server.thaw()
        self.start_server()

    def _check_back(self, missing: list[Process]) -> None:
        source, current = self.world.source.name, self._epoch()
        for process in missing:
            known = process.limiter.epochs.of(source)
            if process in self.world.living and known and known != current:
                self._excuse(f"{process.name} was away for too long")

    def _check_dead(self, told: list[tuple[Process, str]], spans: int) -> None:
        """What one has sent that went alone at the loss, and was over before it was back, nobody knows. It is
        in a window until a lease and the window after that end."""
        source = self.world.source.name
        for process, epoch in told:
            window, known = process.limiter.process_window(source), process.limiter.epochs.of(source)
            if process not in self.world.living and window.has_fallback_slots and known == epoch != "":
                self._excuse(f"{process.name} was over before it was back", spans)

    def _excuse(self, why: str, us: int = 0) -> None:
        self.world.note(f"beyond what is assumed: {why}")
        us = us or micros(2 * (self._window + self.world.lease) + 1.0)
        self.world.excused_until = max(self.world.excused_until, self.kernel.now_us + us)

    def _watch(self, who: str, command: tuple[bytes, ...], answer: Any) -> None:
        """The first who asks after a loss must be one who can know of it."""
        if self._witnesses is None or isinstance(answer, Exception):
            return
        call = self.world.oracle._scripts.read(command)
        if call is None or "seen_before" not in call.arguments:
            return
        if who not in self._witnesses:
            self._excuse(f"{who} is the first who asks after the loss")
        self._witnesses = None

    def set_clock(self, seconds: float) -> None:
        """Set the server's clock, where the last loss of data, or time that it was set, is made good."""
        spans = micros(self._window + self.world.lease)
        if self.kernel.now_us >= self._lost_at + spans + micros(2.0):
            self._lost_at = self.kernel.now_us
            self.step_clock(seconds)

    def step_clock(self, seconds: float) -> None:
        """Set the server's clock, whatever it was and is. What is past its time by then Redis removes
        in moments, whether anyone asks for it or not."""
        list(self.server.keyspace.names())
        self.server.skew_us += int(seconds * MICROS)
        self._unmended = self._epoch() if seconds > 0 else ""
        self.world.oracle.set_clock()
        self._await_missing(micros(self._window + self.world.lease))
