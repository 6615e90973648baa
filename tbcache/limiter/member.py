"""This process's place among those that share a source's limits.

A member says a few times a second that it is there, or every few seconds where it rests (rest.py). It learns
the limits in force, and what it may take while Redis is away: its share of each limit, and its allowances
(process_window.py). A process that only takes what the queue gives it can do nothing without Redis, and has
no share. The share of a process that becomes absent is kept free (member.lua) until that process is back, or
until Redis has forgotten it, or until it is known to be dead and all that it may have sent is old.

Between two beats a member listens. When an upstream has closed a source to one process, all learn it, also
those whose slots were granted before. A process that needs the allowances of the others asks for them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable

import tbcache.io as io
from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger, warn_if_unlogged
from tbcache.limiter.allotment import Allotment, Census
from tbcache.limiter.ask import Terms, Want
from tbcache.limiter.leave import Leaving
from tbcache.limiter.limiter import limiter_of
from tbcache.limiter.notice import Notices
from tbcache.limiter.process_window import ProcessWindow
from tbcache.limiter.rest import Rest
from tbcache.limiter.script import BEAT, FILL, Allotted, Beat, Fill
from tbcache.models import Limit
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.constant import ABSENT_SECONDS, FORGET_SECONDS
from tbcache.store.wire import MICROS, day_of, pack_limits, read_limits, to_micros

log = get_logger("tbcache.store")

BEAT_SECONDS = ABSENT_SECONDS / 3
#: Shares move as members come and go: each asks for its own at least so often.
SHARE_SECONDS = 1.0
#: One that leaves looks so often whether what it has asked is over.
LOOK_SECONDS = 0.005
#: Of limits that differ from a process's own.
WHICH_HOLDS = "the strictest holds, of all processes and of what an operator has set (see `tbcache limits`)"
#: What a beat is called among a source's asks.
BEATING = "beat"


class Membership:
    """Beats for every source this process takes slots of, in a thread, from start to stop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._limiter = limiter_of(store)
        self._stays = self._limiter.stays
        self._rest = Rest(store)
        self.leaving = Leaving(store)
        self._asked_at: dict[str, float] = {}
        #: The limits in force of which the log has been told that they are other ones, by source.
        self._logged_limits: dict[str, tuple[Limit, ...]] = {}
        self._beating = io.Mutex()
        self._thread = BackgroundThread("tbcache-member", self._round, lambda: self._notices.close())
        self._notices = Notices(store, self._thread)
        store.breaker.on_return(self._beat_all)

    @property
    def is_joined(self) -> bool:
        """True from :meth:`start` until :meth:`stop`."""
        return self._thread.is_running and self._stays.current is not None

    def start(self) -> None:
        """Join the fleet; does nothing when it has, nor while it is just leaving."""
        if not self.is_joined and self._begin():
            self._thread.start()

    def stop(self) -> None:
        """Leave the fleet and give the share back, as far as Redis can be told."""
        with self._stays.leaving():
            # Also where Redis cannot be told: it forgets a process that does not beat.
            self._limiter.windows.leave()
            self._thread.stop()
            io.run(self._outlast_asks())
            try:
                for source in list(self._asked_at):
                    # A source whose keys are damaged must not keep this process from leaving the others.
                    with contextlib.suppress(Refused):
                        io.run(self.leaving.leave(source))
                    self._asked_at.pop(source, None)
            except Unavailable:
                return
            self._limiter.windows.leave_machine()

    async def _outlast_asks(self) -> None:
        """Wait for what is asked yet in the stay that is over. It says that Redis knows this process: carried
        out after that is forgotten, it would be taken for a sign that Redis has lost its data.
        """
        until = self._limiter.windows.in_doubt_until
        while io.now() < min(until, self._limiter.windows.in_doubt_until):
            await io.world().sleep(LOOK_SECONDS)

    def _begin(self) -> bool:
        """Take part from now on, maybe once more. False while this process is just leaving."""
        self._limiter.join.by(self.beat)
        if self._stays.current is not None:
            return True
        # This comes first: an interrupt in between must leave none there whose marker says that it is over.
        self._limiter.windows.machine.marker.begin()
        return self._stays.begin()

    async def beat(self, source: str, *, gives_up_allowances: bool = False) -> None:
        """Say that this process is there, and learn its part of ``source``'s limits."""
        window = self._limiter.process_window(source)
        # There is one beat at a time, as each says what was learned from the last.
        async with self._beating:
            # The others know of us what was sent, not what we would have sent.
            await self._store.ready()
            self._limiter.windows.join_machine(source)
            if not window.is_member:
                self._limiter.join.await_others(source)
            if gives_up_allowances:
                window.give_up_allowances()
            if (stay := self._stays.current) is None:
                return
            going_by = await self._beat(source, window)
            if window.share < going_by:
                # The others may have the difference only once Redis knows that we go by less.
                await self._beat(source, window)
            if window.purse.budget:
                await self._fill(window, source, stay)
            if self._stays.current is None:
                # It has left since, and nobody would beat for the part that Redis may keep for it now.
                await self.leaving.leave(source)
                return
        if window.unreported:
            await self._limiter.ends.try_to_report(source)

    async def _fill(self, window: ProcessWindow, source: str, stay: object) -> None:
        """Learn what of the day's budget is ours while Redis is away."""
        keys, today, purse = self._store.keys, self._store.clock.today, window.purse
        paid = purse.paid
        day = day_of(today)
        ask = Fill(
            window=self._limiter.window_keys(source),
            usage=keys.usage(source, today),
            purses=keys.purses(source, today),
            process=self._limiter.member,
            budget=purse.budget,
            slot_price=purse.page_price,
            going_by=max(0, purse.left(day) or 0),
        )
        window.receive_purse(await self._store.ask(FILL, ask), day, paid, stay)

    async def _beat(self, source: str, window: ProcessWindow) -> float:
        """Beat once. Returns the share that this process went by until then."""
        going_by = window.share if window.is_member else 0.0
        allowances, mark, can_fall_back = window.report()
        silence = self._rest.silence(source)
        window.ask_for_silence(silence)
        self._asked_at[source] = asked_at = io.now()

        def call(terms: Terms) -> Beat:
            return Beat(
                window=terms.window,
                limits=pack_limits(window.configured),
                process=terms.process,
                going_by=f"{going_by:.9f}",
                asked_us=terms.asked_us,
                deadline_us=terms.deadline_us,
                forget_us=to_micros(FORGET_SECONDS),
                allowances=allowances,
                can_fall_back=can_fall_back,
                seen_before=terms.seen_before,
                epoch=io.random_id(),
                hold_us=to_micros(self._limiter.windows.hold_seconds),
                silence_us=to_micros(silence),
            )

        def on_reply(allotted: Allotted) -> None:
            part = read_allotment(allotted)
            window.receive(part, mark, can_fall_back=can_fall_back, silence=silence)
            window.promises.record_fleet(asked_at, allotted.present_us / MICROS)
            if allotted.is_whole and window.is_member:
                now = io.now()
                window.census = Census(
                    allotted.seen.epoch, window.processes, now + allotted.left_us / MICROS, now
                )

        # A beat that comes too late is no sign that the server is away: the next one tells.
        replied = await self._limiter.try_to_take(BEAT, Want(source, BEATING, 0, joins=False), call, on_reply)
        if replied is not None:
            await self._on_allotment(source, window, replied.reply, asked_at)
        return going_by

    async def _on_allotment(
        self, source: str, window: ProcessWindow, allotted: Allotted, asked_at: float
    ) -> None:
        self._rest.on_beat(source)
        self._check_limits(source, window)
        if allotted.closed_until > allotted.now:
            self._limiter.closures.close_until(source, allotted.closed_until, allotted.reason)
        else:
            # A process that missed the notice that the source was reopened learns it here.
            self._limiter.closures.on_open(source, asked_at)
        if allotted.paused:
            self._limiter.closures.pause(source, allotted.paused)
        else:
            self._limiter.closures.resume(source, asked_at)
        await self.leaving.remove_dead(source, allotted.now, allotted.absent)

    def _check_limits(self, source: str, window: ProcessWindow) -> None:
        """Say it once when the fleet goes by other limits than this process was started with."""
        if source not in self._store.keys.sources:
            # For a source that no setting names, each call says the limit.
            return
        if set(window.limits) == set(window.configured) or self._logged_limits.get(source) == window.limits:
            return
        self._logged_limits[source] = window.limits
        log.warning(
            "limits.differ",
            source=source,
            ours=_written(window.configured),
            in_force=_written(window.limits),
            hint=f"{WHICH_HOLDS}; start all processes with the same",
        )
        warn_if_unlogged(
            f"{source}: this process was started with {_written(window.configured)}, the fleet goes by "
            f"{_written(window.limits)}: {WHICH_HOLDS}"
        )

    async def beat_if_idle(self) -> None:
        """Beat for every source once, where no thread does it all the time."""
        if not self._thread.is_running and self._begin():
            await self._beat_all_sources()

    def _beat_all(self) -> None:
        """Redis is back: know our part of what is free before it may go again."""
        if self._thread.is_running:
            io.run(self._beat_all_sources())

    async def _beat_all_sources(self) -> None:
        for source in self._limiter.windows.in_use:
            with contextlib.suppress(Refused):
                await self.beat(source)

    def _round(self) -> float:
        self._beat_where_due()
        now, sources = io.now(), self._limiter.windows.in_use
        # What is due already could not be done: it is tried again after a while.
        ahead = [at for at in map(self._due_at, sources) if at > now]
        self._notices.listen(min([now + BEAT_SECONDS, *ahead]), self._on_notice)
        return 0.0

    def _beat_where_due(self) -> None:
        for source in self._limiter.windows.in_use:
            # A source whose keys are damaged must not keep this process from beating for the others.
            with contextlib.suppress(Unavailable):
                if io.now() >= self._due_at(source):
                    io.run(self.beat(source))
        io.run(self._beat_for_news())

    async def _beat_for_news(self) -> None:
        """Beat where this process rests, and a beat would tell something new."""
        news: list[str] = []
        with contextlib.suppress(Unavailable):
            news = await self._rest.news()
        for source in news:
            with contextlib.suppress(Unavailable):
                await self.beat(source)

    def _on_notice(self, message: bytes) -> None:
        wanted = self._limiter.closures.on_notice(message)
        if wanted in self._limiter.windows.in_use:
            io.run(self.beat(wanted, gives_up_allowances=True))

    def _due_at(self, source: str) -> float:
        """When the next beat is due (monotonic): other asks of the process say as well that it is there."""
        window, asked_at = self._limiter.process_window(source), self._asked_at.get(source, -math.inf)
        promised_at = window.promises.beat_at(BEAT_SECONDS)
        if not self._rest.is_at(source):
            pause = BEAT_SECONDS if window.is_short else SHARE_SECONDS
            return min(promised_at, window.last_seen_at + BEAT_SECONDS, asked_at + pause)
        # One that begins to rest says so at once: it would count as absent.
        is_told = window.silence >= self._rest.silence(source)
        return min(promised_at, asked_at + self._rest.pause(source)) if is_told else -math.inf


def read_allotment(allotted: Allotted) -> Allotment:
    """What a beat is told of this process's part."""
    return Allotment(
        allotted.share,
        allotted.fair,
        _allowances(allotted.allowances),
        read_limits(allotted.limits),
        allotted.processes,
        allotted.hold_us / MICROS,
        read_limits(allotted.bound),
    )


def _allowances(text: str) -> dict[str, int]:
    """``COUNT:SPAN=ALLOWANCE,...`` as beat.lua writes it."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {limit: int(allowance) for limit, _, allowance in pairs}


def _written(limits: Iterable[Limit]) -> str:
    return ",".join(map(str, limits))
