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
import os
import weakref
from collections.abc import Iterable

import redis
from redis.client import PubSub
from redis.exceptions import NoPermissionError

import tbcache.io as io
from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger, warn_if_unlogged
from tbcache.limiter.allotment import Allotment, Census
from tbcache.limiter.ask import Terms, Want
from tbcache.limiter.limiter import limiter_of
from tbcache.limiter.process_window import ProcessWindow
from tbcache.limiter.purse import Purse
from tbcache.limiter.rest import Rest
from tbcache.limiter.script import BEAT, FILL, LEAVE, Allotted, Beat, Fill, Leave
from tbcache.models import Limit
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.constant import ABSENT_SECONDS, FORGET_SECONDS
from tbcache.store.wire import MICROS, day_of, pack_limits, read_limits, to_micros

log = get_logger("tbcache.store")

BEAT_SECONDS = ABSENT_SECONDS / 3
#: Shares move as members come and go: each asks for its own at least so often.
SHARE_SECONDS = 1.0
#: How often a process says that it leaves, where it goes on taking slots.
MOST_LEAVES = 3
#: What a beat is called among a source's asks.
BEATING = "beat"
#: A process without the right to the channel asks for it again after so long.
DEAF_SECONDS = 60.0


_MEMBERSHIPS: weakref.WeakSet[Membership] = weakref.WeakSet()


class Membership:
    """Beats for every source this process takes slots of, in a thread, from start to stop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._limiter = limiter_of(store)
        self._rest = Rest(store)
        self._asked_at: dict[str, float] = {}
        #: Until when the shares of dead processes are reserved (us), by source, its epoch and process. In
        #: another epoch Redis may know the share again, and not that the process was found dead.
        self._reserved_until: dict[tuple[str, str, str], int] = {}
        #: The limits in force of which the log has been told that they are other ones, by source.
        self._logged_limits: dict[str, tuple[Limit, ...]] = {}
        self._beating = io.Mutex()
        self._thread = BackgroundThread("tbcache-member", self._round, self._unsubscribe)
        self._messages: PubSub | None = None
        self._deaf_until = -math.inf
        store.breaker.on_return(self._beat_all)
        _MEMBERSHIPS.add(self)

    def start(self) -> None:
        """Join the fleet; does nothing when it has."""
        if not self._thread.is_running:
            self._limiter.join.by(self.beat)
            self._beating.renew()
            self._thread.start()

    def stop(self) -> None:
        """Leave the fleet and give the share back, as far as Redis can be told."""
        self._limiter.join.by(None)
        self._thread.stop()
        try:
            for source in list(self._asked_at):
                # A source whose keys are damaged must not keep this process from leaving the others.
                with contextlib.suppress(Refused):
                    io.run(self._leave_source(source))
        except Unavailable:
            return
        self._limiter.windows.leave_machine()

    async def beat(self, source: str, *, gives_up_allowances: bool = False) -> None:
        """Say that this process is there, and learn its part of ``source``'s limits.

        Raises:
          Unavailable: the server is away.
        """
        window = self._limiter.process_window(source)
        # There is one beat at a time, as each says what was learned from the last.
        async with self._beating:
            # The others know of us what was sent, not what we would have sent.
            await self._store.ready()
            self._limiter.windows.join_machine()
            if gives_up_allowances:
                window.give_up_allowances()
            going_by = await self._beat(source, window)
            if window.share < going_by:
                # The others may have the difference only once Redis knows that we go by less.
                await self._beat(source, window)
            if window.purse.budget:
                await self._fill(window.purse, source)
        if window.unreported:
            await self._limiter.ends.try_to_report(source)

    async def _fill(self, purse: Purse, source: str) -> None:
        """Learn what of the day's budget is ours while Redis is away."""
        keys, today, paid = self._store.keys, self._store.clock.today, purse.paid
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
        purse.receive(await self._store.ask(FILL, ask), day, paid)

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
            window.promises.record_fleet(asked_at, are_all_present=allotted.are_all_present)
            if allotted.is_whole:
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
        await self._remove_dead(source, allotted.now, allotted.absent)

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
            hint="the strictest of all processes holds; start them with the same limits",
        )
        warn_if_unlogged(
            f"{source}: this process was started with {_written(window.configured)}, the fleet goes by "
            f"{_written(window.limits)}: the strictest of all processes holds"
        )

    async def beat_if_idle(self) -> None:
        """Beat for every source once, where no thread does it all the time.

        Raises:
          Unavailable: the server is away.
        """
        if not self._thread.is_running:
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
        self._listen(io.now() + BEAT_SECONDS)
        return 0.0

    def _beat_where_due(self) -> None:
        for source in self._limiter.windows.in_use:
            # A source whose keys are damaged must not keep this process from beating for the others.
            with contextlib.suppress(Unavailable):
                if self._is_due(source):
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

    def _listen(self, until: float) -> None:
        """Hear what is told to all, until it is time for the next beat."""
        try:
            if io.now() < self._deaf_until:
                self._thread.pause(until - io.now())
                return
            if self._messages is None:
                self._messages = self._store.subscribe()
            messages = self._messages
            while (left := until - io.now()) > 0 and not self._thread.is_stopping:
                message = messages.get_message(timeout=left)
                wanted = self._limiter.closures.on_notice(message["data"]) if message is not None else None
                if wanted in self._limiter.windows.in_use:
                    io.run(self.beat(wanted, gives_up_allowances=True))
        except (Unavailable, redis.RedisError, OSError) as error:
            self._unsubscribe()
            if isinstance(error, NoPermissionError):
                self._on_no_beat()
            self._thread.pause(until - io.now())
        except Exception:
            self._unsubscribe()
            raise

    def _unsubscribe(self) -> None:
        messages, self._messages = self._messages, None
        if messages is not None:
            messages.close()

    def _on_no_beat(self) -> None:
        """Our user has no right to the channel: what is told there we learn with the next beat."""
        if self._deaf_until == -math.inf:
            log.warning("redis.channel_denied", channel=self._store.keys.notices)
        self._deaf_until = io.now() + DEAF_SECONDS

    def _is_due(self, source: str) -> bool:
        """True when a beat is due: other asks of the process say as well that it is there."""
        now, window = io.now(), self._limiter.process_window(source)
        is_promised, age = window.promises.need_beat(BEAT_SECONDS), now - self._asked_at.get(source, 0.0)
        if self._rest.is_at(source):
            # One that begins to rest says so at once: it would count as absent.
            is_told = window.silence >= self._rest.silence(source)
            return is_promised or not is_told or age >= self._rest.pause(source)
        is_overdue = is_promised or now - window.last_seen_at >= BEAT_SECONDS
        left = BEAT_SECONDS if window.is_short else SHARE_SECONDS
        return is_overdue or age >= left

    async def _remove_dead(self, source: str, now_us: int, absent: Iterable[str]) -> None:
        """Give back the shares of those that were processes of this machine and are no more."""
        for member in absent:
            reserved_until = self._reserved_until.get((source, self._limiter.epochs.of(source), member), 0)
            if now_us >= reserved_until and self._is_dead(member):
                await self._leave(
                    source, member, is_clean=self._limiter.windows.machine.marker_of(member).is_clean
                )

    def _is_dead(self, member: str) -> bool:
        return self._limiter.windows.machine.is_dead(member)

    async def _leave_source(self, source: str) -> None:
        window = self._limiter.process_window(source)
        for _ in range(MOST_LEAVES):
            granted = window.granted
            await self._leave(
                source, self._limiter.member, is_clean=True, gone_in_us=to_micros(window.gone_in)
            )
            # What another thread took meanwhile is told as well: after a loss nobody else knows of it.
            if window.granted == granted:
                break
        self._limiter.epochs.forget(source)
        window.census = Census()

    async def _leave(self, source: str, member: str, *, is_clean: bool, gone_in_us: int = -1) -> None:
        """``gone_in_us``: when the last slot of it has left every window; -1 where that is not known."""
        keys, member_key = self._store.keys, (source, self._limiter.epochs.of(source), member)
        hold_us = to_micros(self._limiter.windows.hold_seconds)
        ask = Leave(keys.state(source), keys.fleet(source), member, is_clean, hold_us, gone_in_us)
        reserved_until = await self._store.ask(LEAVE, ask)
        if reserved_until:
            self._reserved_until[member_key] = reserved_until
        else:
            self._reserved_until.pop(member_key, None)
            if is_clean:
                # It has told its whole bill. What a process that was found dead may have spent stays reserved
                # for the day.
                await self._store.command("HDEL", keys.purses(source, self._store.clock.today), member)


def read_allotment(allotted: Allotted) -> Allotment:
    """What a beat is told of this process's part."""
    return Allotment(
        allotted.share,
        allotted.fair,
        _allowances(allotted.allowances),
        read_limits(allotted.limits),
        allotted.processes,
    )


def _allowances(text: str) -> dict[str, int]:
    """``COUNT:SPAN=ALLOWANCE,...`` as beat.lua writes it."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {limit: int(allowance) for limit, _, allowance in pairs}


def _written(limits: Iterable[Limit]) -> str:
    return ",".join(map(str, limits))


def _after_fork() -> None:
    # A thread of the parent may have been in the middle of a beat.
    for membership in list(_MEMBERSHIPS):
        membership._beating.renew()


os.register_at_fork(after_in_child=_after_fork)
