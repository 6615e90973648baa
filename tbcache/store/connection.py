"""A store: Redis or Valkey with a short temper.

A call waits at most ``timeout`` for the server. The first that fails opens the
breaker: from then on calls fail at once, while a thread of our own asks again and again
whether the server is back, that is, whether it accepts what our scripts do.

An answer that is about one key or one command fails that call alone. Where a script stumbles
over a source's keys, the source goes on without Redis until they can be used again.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import redis
from redis.client import PubSub
from redis.exceptions import AskError, NoScriptError

from tbcache.errors import ConfigurationError, RedisUnreachable
from tbcache.io.background import BackgroundThread
from tbcache.io.singleton import singleton
from tbcache.limiter.closure import Closures
from tbcache.limiter.marker import Marker
from tbcache.limiter.script import (
    LOSE,
    PROBE,
    RESTORE,
    TAKE,
    TIME,
    AskTime,
    Late,
    Lose,
    Probe,
    Restore,
    Take,
    WindowKeys,
)
from tbcache.limiter.slot import Census, OwnSlots
from tbcache.models import utc_now
from tbcache.models.foreign import MOST_US, whole
from tbcache.settings import BUILT_IN_NAMES, Settings, get_settings
from tbcache.settings.log import get_logger
from tbcache.store.cluster import Cluster
from tbcache.store.fault import (
    AWAY,
    REFUSED_LOGIN,
    is_about_database,
    is_of_call,
    is_passing,
    is_refusal,
    may_be_done,
    reason_of,
)
from tbcache.store.key import Keys
from tbcache.store.layout import OtherLayout, agree
from tbcache.store.node import Node
from tbcache.store.refusal import Refusals
from tbcache.store.script import Argument, Script
from tbcache.store.waiter import Waiter
from tbcache.store.wire import CLOCK_DRIFT, MICROS, Seen, pack_limits, to_micros, to_time

log = get_logger("tbcache.store")

C = TypeVar("C", bound=tuple[Any, ...])
R = TypeVar("R")

#: The names of one machine for itself, in an address.
_LOOPBACK = re.compile(r"//(127(\.\d+){3}|\[::1\])(?=[:/]|$)")
PROBE_SECONDS = 0.1
#: A server that is there and refuses to work is asked less and less often, at least so often.
LONGEST_PROBE_SECONDS = 1.0
#: One that is away again so soon after it was back did not mean it.
RELAPSE_SECONDS = 2.0
PROBE_TTL_MS = 10_000
#: For so long the server's clock is told by ours: it may be set.
CLOCK_SECONDS = 60.0
#: Scripts by which slots are taken and given back.
_OF_SLOTS = {"admit", "turn", "settle", "take", "dequeue", "beat", "restore", "lose"}
#: The part of the timeout in which an ask must be carried out; the rest is its answer's way.
ANSWERED_PART = 0.8


class Unavailable(RedisUnreachable):
    """The store cannot be used now; callers go on without it. ``is_timeout``: it did not answer in time,
    and may have done what it was asked."""

    is_timeout = False


class Refused(Unavailable):
    """The server answers, but refuses this very call: for what a key holds, or for want of a right."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason, is_refusal=True)


class _Clock(NamedTuple):
    """How far the server's clock is ahead of ours: at least ``low`` and at most ``high`` seconds.

    The server told its time at some moment between an ask and its answer. However long either was
    under way, or this process stood still, the truth lies in between.
    """

    low: float
    high: float
    seen_at: float

    def at(self, now: float) -> _Clock:
        """The same later: the two may have gone apart by their drift."""
        drift = CLOCK_DRIFT * max(0.0, now - self.seen_at)
        return _Clock(self.low - drift, self.high + drift, now)

    def narrowed_by(self, other: _Clock) -> _Clock:
        return _Clock(max(self.low, other.low), min(self.high, other.high), self.seen_at)


class Store:
    """One server or one cluster, its keys and its scripts. Opens no socket before the first call."""

    def __init__(self, settings: Settings) -> None:
        self.keys = Keys(settings.namespace, frozenset((*BUILT_IN_NAMES, *settings.sources)))
        self.address = settings.redis_address
        self.timeout = settings.redis_timeout
        #: For how long (seconds) a slot is held for one request.
        self.lease_seconds = settings.lease_seconds
        self.is_cluster = settings.redis_cluster
        self._url = settings.redis
        self._name = settings.worker_name
        self._lock = threading.Lock()
        self._asking_time = threading.Lock()
        self._away_reason: str | None = None if self._url else "no address is configured"
        self._to_tell: list[Callable[[], None]] = []
        self._returned: list[Callable[[], None]] = []
        #: What was heard of upstreams that said stop; it holds without Redis as well.
        self.closures = Closures()
        self._forked: list[Callable[[], None]] = [self.closures.renew]
        self._join: Callable[[str], None] | None = None
        self._is_leaving = False
        self._prober = BackgroundThread("tbcache-probe", self._probe)
        self._probe_seconds = PROBE_SECONDS
        #: What is away is there, and refuses.
        self._is_refusing = False
        self._returned_at = -math.inf
        #: Sources whose keys our scripts stumble over: they go on without Redis.
        self._broken: dict[str, str] = {}
        #: What this process is refused of late, for its heartbeat.
        self.refusals = Refusals()
        self._own: dict[str, OwnSlots] = {}
        self._is_returning = False
        self._seen: dict[str, Seen] = {}
        self._agreeing = threading.Lock()
        self._is_agreed = False
        self._is_foreign = False
        # The server's clock beside ours; the nodes of a cluster have clocks of their own, so there
        # also by source.
        self._clocks: dict[str, _Clock] = {}
        self._has_marker = self._is_marked_alone = False
        self._open()

    @property
    def process(self) -> str:
        """How this process is named in figures, heartbeats and epochs."""
        name = self._name or f"{socket.gethostname()}-{os.getpid()}"
        return re.sub(r"[^A-Za-z0-9_.\-]", "-", name)[:64]

    @property
    def member(self) -> str:
        """This store among all that share a limit: no other's, whatever the process is named in figures."""
        return f"{_machine()}-{self._pid}.{self._token}"

    @property
    def marker(self) -> Marker:
        """What tells the others of this machine that we are there, and whether Redis knows all we sent."""
        return self._marker

    def marker_of(self, member: str) -> Marker:
        """The marker of another process with the same Redis and namespace."""
        return Marker(f"{_LOOPBACK.sub('//localhost', self.address)} {self.keys.namespace}", member)

    @property
    def fleet_size(self) -> int:
        """How many processes shared a limit when last heard of: the most of any source."""
        return max((own.processes for own in self._own.copy().values()), default=1)

    @property
    def is_available(self) -> bool:
        """False from the first call that failed until the server has answered again."""
        return self._away_reason is None

    @property
    def is_shared(self) -> bool:
        """False where no address is configured: this process has nobody to share with."""
        return bool(self._url)

    @property
    def is_closed(self) -> bool:
        """True from :meth:`close` on."""
        return self._closed

    @property
    def client(self) -> redis.Redis:
        """The pooled client, for plain commands inside :meth:`guard`."""
        self._after_fork()
        return self._server.client

    def run(self, script: Script[C, R], call: C) -> R:
        """Run a script by its digest: one round trip; two when the server has not seen it.

        Raises:
          Unavailable: the server is away. Refused: it stumbles over what a key holds.
        """
        self.check()
        packed = script.pack(call)
        source = _source(packed[1])
        self._check_source(script.name, source)
        return script.read(self._run(script, packed, source))

    def _run(self, script: Script[Any, Any], packed: Sequence[Argument], source: str) -> Any:
        try:
            try:
                return self._call("EVALSHA", script.sha, *packed)
            except NoScriptError:
                return self._call("EVAL", script.text, *packed)
        except AskError:
            raise self._is_in_cluster() from None
        except AWAY as error:
            raise self._failed(error, script.name, source) from None

    def call(self, *command: Argument) -> Any:
        """One command, straight over a connection: half of what the client's own path costs.

        Bytes stay bytes.

        Raises:
          Unavailable: the server is away. Refused: it refuses this command only.
        """
        self.check()
        try:
            return self._call(*command)
        except AskError:
            raise self._is_in_cluster() from None
        except AWAY as error:
            raise self._failed(error) from None

    def wait_for(self, key: str, seconds: float) -> bool:
        """Wait until the list ``key`` has an element, which stays there; False after ``seconds`` without one.

        Raises:
          Unavailable: the server is away.
        """
        return self.peek_list(key, seconds) is not None

    def peek_list(self, key: str, seconds: float) -> bytes | None:
        """The first element of the list ``key``, which stays there; None after ``seconds`` without one.

        Raises:
          Unavailable: the server is away.
        """
        self.check()
        return self._waiter.first(key, seconds)

    def pop_list(self, key: str, seconds: float) -> bool:
        """Take an element off the list ``key``; False after ``seconds`` without one.

        Raises:
          Unavailable: the server is away.
        """
        return self._block(seconds, "BLPOP", key) is not None

    def _first_elements(self, keys: list[str]) -> list[Any]:
        """The first element of each list; None, or an error that is about that key alone, for none."""
        with self.guard():
            pipe: Any = self.client.pipeline(transaction=False)
            for key in keys:
                pipe.lindex(key, 0)
            found: list[Any] = pipe.execute(raise_on_error=False)
            for answer in found:
                if isinstance(answer, Exception) and not is_of_call(answer, is_script=False):
                    raise answer
        return found

    def _subscribe_to_wakes(self) -> PubSub:
        with self.guard():
            return self._server.subscribe(self.keys.wakes)

    def _call(self, *command: Argument) -> Any:
        return self._server.call(*command)

    def _block(self, seconds: float, *command: str) -> Any:
        self._after_fork()
        with self.guard():
            try:
                return self._server.block(seconds, *command)
            except redis.ResponseError as error:
                # The server has ceased to be the one for this list: the caller asks again.
                if str(error).startswith("UNBLOCKED"):
                    return None
                raise

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn what a server raises that does not answer into :class:`Unavailable`, and remember it.

        Raises:
          Unavailable: the server is away, or was a moment ago. Refused: it refuses this command only.
        """
        self.check()
        try:
            yield
        except Unavailable:
            raise
        except AskError:
            raise self._is_in_cluster() from None
        except AWAY as error:
            raise self._failed(error) from None
        except Exception:
            # Closed under a call of another thread, redis-py stumbles over what is gone.
            if self._closed:
                raise Unavailable(self.address, "closed") from None
            raise

    def check(self) -> None:
        """Whether a call would be sent now.

        Raises:
          Unavailable: the server is away, or was a moment ago.
        """
        if self._pid != os.getpid():
            self._after_fork()
        self._check_away()
        if not self._is_agreed and self._away_reason is None:
            self._agree()

    def _check_away(self) -> None:
        reason = self._away_reason
        if reason is not None and not self._prober.is_current:
            raise Unavailable(self.address, reason, is_refusal=self._is_refusing)

    def _agree(self) -> None:
        """Before the first call, and at each return: may this process use what is in Redis (layout.py)?

        Raises:
          Unavailable: it may not, or the server is away.
        """
        with self._agreeing:
            if self._is_agreed:
                return
            # Another thread may have found it away while this one waited.
            self._check_away()
            try:
                told = agree(self._server.call, self.keys)
            except OtherLayout as error:
                self._is_foreign = True
                raise self._away(error) from None
            except AskError:
                raise self._is_in_cluster() from None
            except AWAY as error:
                raise self._away(error) from None
            self._is_agreed, self._is_foreign = True, False
        if not self._clocks and not self.is_cluster:
            self.learn_time(*told, source="")

    def doubt_layout(self) -> None:
        """Somebody has written down another layout: ask again before the next call."""
        self._is_agreed = False

    def _check_source(self, script: str, source: str) -> None:
        reason = self._broken.get(source)
        if reason is not None and script in _OF_SLOTS and not self._prober.is_current:
            raise Refused(self.address, reason)

    def _failed(self, error: Exception, script: str = "", source: str = "") -> Unavailable:
        """What to raise for an error of the server; ``source`` is whose keys ``script`` was run on."""
        if not is_of_call(error, is_script=bool(script)):
            return self._away(error)
        refused = Refused(self.address, reason_of(error))
        refused.is_timeout = may_be_done(error)
        log.warning("redis.refused", script=script, source=source, reason=refused.reason)
        if source:
            self.refusals.note(source, script, refused.reason)
        if script in _OF_SLOTS and source in self._own:
            self._break(source, refused.reason)
        return refused

    def _break(self, source: str, reason: str) -> None:
        """Go on without Redis for this source alone, until its keys can be used again."""
        with self._lock:
            if source not in self._broken:
                self._plan_probe(is_there=True)
            self._broken[source] = reason
        # What is under way is over by then.
        self._prober.start(after=max(self.timeout, self._probe_seconds))

    def _away(self, error: Exception) -> Unavailable:
        self._lost(error)
        unavailable = Unavailable(self.address, reason_of(error), is_refusal=is_refusal(error))
        unavailable.is_timeout = may_be_done(error)
        unavailable.is_passing = is_passing(error)
        return unavailable

    def _is_in_cluster(self) -> ConfigurationError:
        return ConfigurationError(f"Redis at {self.address} is a node of a cluster; set REDIS_CLUSTER=true")

    def require(self) -> None:
        """Check that the server answers, lets us in and accepts what our scripts do.

        Raises:
          ConfigurationError: it refuses the user, the password or the database.
          RedisUnreachable: it does not answer, or refuses to work; says in which words.
        """
        if not self._url:
            raise RedisUnreachable(self.address, "no address is configured")
        try:
            self.client.ping()
        except REFUSED_LOGIN as error:
            raise ConfigurationError(
                f"Redis at {self.address} refuses the login ({error}); "
                "check REDIS_PASSWORD or the password in REDIS_URL"
            ) from None
        except AskError:
            raise self._is_in_cluster() from None
        except AWAY as error:
            if is_about_database(error):
                raise ConfigurationError(
                    f"Redis at {self.address} refuses the database ({error}); "
                    "check REDIS_DB or the number in REDIS_URL"
                ) from None
            unreachable = RedisUnreachable(self.address, reason_of(error), is_refusal=is_refusal(error))
            unreachable.is_passing = is_passing(error)
            raise unreachable from None
        self._require_layout()
        self.probe()

    def _require_layout(self) -> None:
        try:
            self.check()
        except Unavailable as error:
            if not self._is_foreign:
                raise
            raise ConfigurationError(
                f"Redis at {self.address} cannot be used ({error.reason}); "
                "run one version everywhere, or set another TBCACHE_NAMESPACE"
            ) from None

    def probe(self) -> None:
        """Check that the server accepts what our scripts do: one that is full still answers a PING.

        Raises:
          Unavailable: it is away, or refuses; says in which words.
        """
        # In a cluster each node may refuse on its own; the sources lie all over it.
        sources = self.keys.sources if self.is_cluster else ("probe",)
        for source in sorted(sources):
            self.run(PROBE, Probe(self.keys.probe(source), PROBE_TTL_MS))

    def window(self, source: str) -> WindowKeys:
        """The keys of a source's window."""
        return WindowKeys(self.keys.slots(source), self.keys.state(source), self.keys.fleet(source))

    def own(self, source: str) -> OwnSlots:
        """The slots of ``source`` that this process has taken."""
        own = self._own.get(source)
        if own is None:
            may_go_alone = functools.partial(self._may_go_alone, source)
            new = OwnSlots(may_go_alone, self._go_alone, self._newcomers_share)
            own = self._own.setdefault(source, new)
        return own

    def _may_go_alone(self, source: str) -> bool:
        # A slot that is taken alone after ours were put back would be known to nobody.
        is_without = self._away_reason is not None or source in self._broken
        # What processes of another layout use of the limits is not known to us.
        return is_without and not self._is_returning and not self._is_foreign

    def _go_alone(self) -> bool:
        # Where none is configured, nobody shares anything.
        if self._url and not self._is_marked_alone:
            self._is_marked_alone = self.marker.set_alone()
        return self._is_marked_alone or not self._url

    def _newcomers_share(self, window: float) -> float:
        """The part of a limit over ``window`` seconds that is this process's while Redis is away, and has
        never told it one: nothing while others of this machine may have something in that window."""
        if not self._url:
            return 1.0
        # Marked first: of two that look at the same time, both see the other.
        is_alone = self._go_alone() and self.marker.is_alone(self.lease_seconds + window)
        return 1 / self.fleet_size if is_alone else 0.0

    def stay_clean(self) -> None:
        """Say that Redis knows of all that was sent, unless something was sent without it."""
        if not self._has_sent_alone():
            self.marker.set_clean()
            self._has_marker, self._is_marked_alone = True, False

    def join_machine(self) -> None:
        """Have a marker: before anything is sent, and before Redis gives this process a part of a limit. One
        that begins while Redis is away must know of it."""
        if not self._has_marker:
            self.stay_clean()

    def leave_machine(self) -> None:
        """This process is over, and sends nothing any more."""
        if any(own.has_taken for own in self._own.copy().values()):
            self.marker.set_over()
        else:
            self.marker.remove()

    def _has_sent_alone(self) -> bool:
        return any(own.has_taken_alone for own in self._own.copy().values())

    @contextmanager
    def asking(self, source: str, name: str, cost: int, *, is_alone: bool = True) -> Iterator[int]:
        """Around a script that may take ``cost`` slots of ``source``, if it comes to that. ``is_alone``:
        were Redis away, the process would go on without it; False for what the queue gives. Gives
        the ask's deadline in the server's time (us).

        Raises:
          Unavailable: the server is away.
        """
        self.check()
        own = self.own(source)
        self.join_machine()
        if own.begins_alone(is_alone) and self._join is not None:
            self._join(source)
        with self.awaiting(source, name, cost) as deadline_us:
            yield deadline_us

    @contextmanager
    def awaiting(self, source: str, name: str, cost: int) -> Iterator[int]:
        """Around a script by which the server learns that this process is there. Gives its deadline.

        The one place where it is noted that Redis has heard us, and where an answer is lost.
        """
        own = self.own(source)
        # What is not sent is not asked.
        self._check_source("take", source)
        # In this order: the server refuses what we no longer reckon with.
        deadline_us = self.deadline_us(source)
        own.ask(name, cost, time.monotonic() + self.timeout * ANSWERED_PART)
        try:
            yield deadline_us
        except Unavailable as error:
            # Whether it took them, who knows.
            own.lose(name, is_heard=error.is_timeout)
            raise
        except BaseException:
            # Interrupted, it may have taken them as well: they count as sent.
            own.grant(name, cost, own.limits, self.lease_seconds)
            own.answered(name)
            raise
        own.answered(name)

    def overdue(self) -> Unavailable:
        """The server acts too late to be waited for: it counts as away from now on."""
        return self._away(redis.TimeoutError())

    def on_first_ask(self, join: Callable[[str], None] | None) -> None:
        """Call ``join`` with the name of a source before this process first asks for its slots."""
        self._join, self._is_leaving = join, join is None

    def know(self, source: str) -> None:
        """Have a log of clears of its own for a source that no setting names."""
        self.keys = replace(self.keys, sources=self.keys.sources | {source})

    def sources_in_use(self) -> list[str]:
        """The sources that this process takes slots of."""
        return [source for source, own in self._own.copy().items() if own.limits]

    def epoch(self, source: str) -> str:
        """The epoch of the source's window that this process has seen, "" for none."""
        return self._seen.get(source, Seen()).epoch

    def seen(self, source: str) -> str:
        """What the scripts are told of this process, as epoch.lua reads it; "" before the first."""
        seen = self._seen.get(source, Seen())
        # Redis forgets one that leaves: what it is told meanwhile is no sign of a loss.
        return str(Seen(seen.epoch) if self._is_leaving else seen)

    def learn(self, source: str, seen: Seen) -> None:
        """Take note of what Redis replied of the epoch. Where it has lost the window, or forgotten us, put
        our own slots back."""
        if not seen.epoch:
            return
        known = self._seen.setdefault(source, seen)
        if known.epoch != seen.epoch or seen.heard_us == 0 < known.heard_us:
            # Away again, it is mended at the next return.
            with contextlib.suppress(Unavailable):
                self.restore(source)
        elif seen.heard_us > known.heard_us:
            self._seen[source] = seen

    def unlearn(self, source: str) -> None:
        """This process has left the fleet of ``source``: there is no note of it any more."""
        self._seen[source] = Seen(self.epoch(source))

    def restore(self, source: str) -> None:
        """Put this process's own slots of ``source`` into the shared window.

        Redis takes note with it that the process is there, and so does the process.

        Raises:
          Unavailable: the server is away.
        """
        with self.awaiting(source, uuid.uuid4().hex, 0) as deadline_us:
            self._restore(source, deadline_us)

    def _restore(self, source: str, deadline_us: int) -> None:
        own, asked_at = self.own(source), time.monotonic()
        ages = own.ages()
        taken = tuple(part for slot, age in ages for part in (slot, to_micros(age)))
        # Who is told of no fleet has this limit to itself.
        census = (
            own.census if own.is_member else Census(self.epoch(source), own.processes, 0.0, time.monotonic())
        )
        now = time.monotonic()
        # One that has left comes back for nobody.
        is_member = own.is_member and self._join is not None
        rooms, _, is_alone = own.report()
        ask = Restore(
            window=self.window(source),
            back=self.keys.back(source),
            horizon=to_micros(own.horizon),
            process=self.member,
            known=self.seen(source),
            epoch=uuid.uuid4().hex,
            lease_us=to_micros(self.lease_seconds),
            whole=census.epoch,
            members=census.members,
            left_us=to_micros(max(0.0, census.left_until - now)),
            told_ago_us=to_micros(now - census.told_at),
            deadline_us=deadline_us,
            is_member=is_member,
            going_by=f"{own.share:.9f}" if is_alone else "",
            rooms=rooms,
            taken=taken,
        )
        found = self.run(RESTORE, ask)
        if isinstance(found, Late):
            self.learn_time(found.now, asked_at, source)
            raise self.overdue()
        self._seen[source] = found.seen
        own.restored(slot for slot, _ in ages)

    def time_us(self, source: str = "") -> float | None:
        """The server's time by our clock; None before it is known. In a cluster: of the source's node."""
        clock = self._clocks.get(self._clock_of(source))
        return None if clock is None else (time.monotonic() + clock.high) * MICROS

    def now_us(self, source: str) -> float:
        """The server's time (us). A round trip where it was not heard of for a while.

        Raises:
          Unavailable: the server is away.
        """
        clock = self._clocks.get(self._clock_of(source))
        if clock is None or time.monotonic() - clock.seen_at > CLOCK_SECONDS:
            asked_at = time.monotonic()
            told = self.run(TIME, AskTime(self.keys.state(source)))
            self.learn_time(told.seconds * MICROS + told.micros, asked_at, source)
            clock = self._clocks[self._clock_of(source)]
        return (time.monotonic() + clock.high) * MICROS

    @property
    def today(self) -> datetime:
        """Now, as the server sees it; by our own clock before its time is known."""
        now_us = self.time_us()
        return utc_now() if now_us is None else to_time(now_us)

    def deadline_us(self, source: str) -> int:
        """When an ask made now is past, in the server's time: early enough that its answer is read.

        A source's first costs a round trip: a server that is frozen must not act on it when it thaws.

        Raises:
          Unavailable: the server is away.
        """
        clock = self._clocks.get(self._clock_of(source)) or self._ask_time(source)
        # By the lower end: never later than the part of the timeout that is the ask's.
        return round((time.monotonic() + clock.low + self.timeout * ANSWERED_PART) * MICROS)

    def _ask_time(self, source: str) -> _Clock:
        with self._asking_time:
            # Another thread may have asked while we waited.
            known = self._clocks.get(self._clock_of(source))
            if known is not None:
                return known
            asked_at = time.monotonic()
            told = self.run(TIME, AskTime(self.keys.state(source)))
            self.learn_time(told.seconds * MICROS + told.micros, asked_at, source)
            return self._clocks[self._clock_of(source)]

    def learn_time(self, now_us: int, asked_at: float, source: str) -> None:
        """Compare the server's clock, as it answered what was asked at ``asked_at``, with ours.

        One that jumped makes every stamp wrong by as much: the windows are given up, and
        each process puts back its own slots by its own clock.
        """
        name, now = self._clock_of(source), time.monotonic()
        seen = _Clock(now_us / MICROS - now, now_us / MICROS - asked_at, now)
        with self._lock:
            known = self._clocks.get(name)
            both = seen if known is None else seen.narrowed_by(known.at(now))
            # A clock that is being corrected, by some milliseconds a second, has not jumped.
            gap = both.low - both.high
            self._clocks[name] = self._clocks[""] = both if gap <= 0 else seen
        if gap > self.timeout and known is not None:
            log.warning("redis.clock_jumped", seconds=round(seen.high - known.high, 3))
            with contextlib.suppress(Unavailable):
                self._give_up_windows(name)

    def _clock_of(self, source: str) -> str:
        return source if self.is_cluster else ""

    def _give_up_windows(self, clock: str) -> None:
        for source, (epoch, _) in list(self._seen.items()):
            if self._clock_of(source) != clock:
                continue
            # One source whose keys are damaged must not keep the others' stamps: a jump is seen once.
            with contextlib.suppress(Refused):
                keys = self.window(source)
                self.run(LOSE, Lose(keys.slots, keys.state, epoch, uuid.uuid4().hex))
                self.restore(source)

    def on_return(self, callback: Callable[[], None], *, is_first: bool = False) -> None:
        """Call ``callback`` each time the server is back, before anyone else uses it again; ``is_first``:
        before the server takes note that this process is there, too.

        One that raises :class:`Unavailable` is called again at the next try.
        """
        (self._to_tell if is_first else self._returned).append(callback)

    def on_fork(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in a forked child before its first use of the server, to renew what a thread of
        the parent may have had in hand: a lock above all."""
        self._forked.append(callback)

    def execute(self, pipe: Any) -> list[Any]:
        """The answers of a pipeline; an error that is about one key or one command stands for its answer.

        Raises:
          Unavailable: the server is away.
        """
        with self.guard():
            answers: list[Any] = pipe.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception) and not is_of_call(answer, is_script=False):
                    raise answer
        return answers

    def scan(self, match: str, count: int) -> Iterator[list[bytes]]:
        """The keys that match a glob, in pages for which the server looks at about ``count`` keys each.

        Raises:
          Unavailable: the server is away.
        """
        with self.guard():
            yield from self._server.scan(match, count)

    def subscribe(self) -> PubSub:
        """A connection on which is told what concerns all; each message is for :meth:`hear_notice`.

        Raises:
          Unavailable: the server is away.
        """
        with self.guard():
            return self._server.subscribe(self.keys.notices)

    def hear_notice(self, message: bytes) -> str | None:
        """Pass on what the scripts tell everyone (notice.lua).

        Returns the source whose rooms somebody needs; None for any other notice, a damaged one included.
        """
        source, *closure = message.decode(errors="replace").split(" ", 2)
        if not closure:
            return source
        until_us = whole(closure[0], most=MOST_US)
        if until_us is not None and len(closure) == 2:
            self.hear_closure(source, until_us, closure[1])
        return None

    def hear_closure(self, source: str, until_us: int, reason: str) -> None:
        """Take note that ``source`` is closed, by the server's time."""
        now_us = self.time_us(source)
        if now_us is not None:
            self.closures.close(source, (until_us - now_us) / MICROS, reason, is_from_redis=True)

    def close(self) -> None:
        """Close every connection; every call after that raises Unavailable."""
        with self._lock:
            self._closed = True
            self._away_reason = "closed"
        self._prober.stop(timeout=0.0)
        self._waiter.close(Unavailable(self.address, "closed"))
        self._server.close()

    def _open(self) -> None:
        self._closed = False
        self._is_agreed, self._is_foreign = False, False
        self._agreeing = threading.Lock()
        self._token = secrets.token_hex(4)
        self._has_marker = self._is_marked_alone = False
        url = self._url or "redis://127.0.0.1:1/0"
        self._server: Node | Cluster = (Cluster if self.is_cluster else Node)(url, self.timeout)
        self._waiter = Waiter(self._first_elements, self._subscribe_to_wakes, self.timeout)
        # Last: another thread of a forked child must not use what is the parent's.
        self._pid = os.getpid()
        self._marker = self.marker_of(self.member)

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            # Neither the connections nor the thread that asks for the server came along.
            # Nor is what Redis has told the parent meant for two.
            for own in self._own.values():
                own.renew()
            for renew in self._forked:
                renew()
            self._seen = {}
            self._lock = threading.Lock()
            self._asking_time = threading.Lock()
            self._is_returning = False
            self._broken, self.refusals = {}, Refusals()
            self._away_reason = None if self._url else "no address is configured"
            self._open()

    def _lost(self, error: Exception) -> None:
        reason, is_there = reason_of(error), is_refusal(error)
        with self._lock:
            if self._closed:
                return
            self._is_agreed = False
            is_news, self._away_reason = self._away_reason is None, reason
            self._is_refusing = is_there
            if is_news:
                self._plan_probe(is_there)
        if is_news:
            log.warning("redis.lost", address=self.address, reason=reason)
            self._prober.start(after=self._probe_seconds)

    def _plan_probe(self, is_there: bool) -> None:
        """With the lock held: when to ask first; later, where a server is back and refuses again at once."""
        is_relapse = time.monotonic() - self._returned_at < RELAPSE_SECONDS
        self._probe_seconds = _longer(self._probe_seconds) if is_relapse and is_there else PROBE_SECONDS

    def _probe(self) -> float | None:
        """Ask whether the server is back, and whether what our scripts stumbled over is mended."""
        if self._closed:
            return None
        try:
            self._come_back()
            is_refused = bool(self._broken)
        except Unavailable as error:
            is_refused = error.is_refusal
        except ConfigurationError:
            is_refused = True
        if self.is_available and not self._broken:
            return None
        if is_refused:
            # It is there, and has better things to do; one that is not there costs nothing to ask.
            self._probe_seconds = _longer(self._probe_seconds)
        return self._probe_seconds

    def _come_back(self) -> None:
        """Ask the server, then let everyone put right what went on without it, and use it again.

        Raises:
          Unavailable: it is away still. ConfigurationError: it is another kind of server.
        """
        was_away = not self.is_available
        if was_away:
            with self.guard():
                self._server.check()
            self._agree()
            self.probe()
        self._is_returning = True
        try:
            concerned = [source for source in list(self._own) if was_away or source in self._broken]
            self._call_back(self._to_tell if was_away or concerned else [])
            is_mended = [self._put_back(source) for source in concerned]
            if not (was_away or any(is_mended)):
                return
            self._call_back(self._returned)
            with self._lock:
                self._away_reason = "closed" if self._closed else None
            if self._has_marker or self._is_marked_alone:
                self.stay_clean()
        finally:
            self._is_returning = False
        self._returned_at = time.monotonic()
        if was_away:
            log.info("redis.returned", address=self.address)

    def _call_back(self, callbacks: Sequence[Callable[[], None]]) -> None:
        for callback in callbacks:
            # What one key refuses must not keep everything else away.
            with contextlib.suppress(Refused), self.guard():
                callback()

    def _put_back(self, source: str) -> bool:
        """Tell the server of the slots that were taken without it; False where it cannot note them."""
        try:
            if source in self._broken and self.own(source).limits:
                self._look(source)
            self.restore(source)
            if source in self._broken and self._join is not None:
                # A beat looks at all that the source's scripts stand on.
                self._join(source)
        except Refused:
            return False
        self.own(source).forget_lost()
        self._broken.pop(source, None)
        return True

    def _look(self, source: str) -> None:
        """Look at the window as every ask does. Redis takes no note of who looks. A process that is heard
        counts what leaves its part of the window as used by the others, for a window more: if each try were
        heard, it would have nothing to go on with.

        Raises:
          Unavailable: the server is away. Refused: the source's keys cannot be used.
        """
        ask = Take(
            window=self.window(source),
            limits=pack_limits(self.own(source).limits),
            is_take=False,
            id="",
            cost=1,
            held_us=0,
            deadline_us=0,
            known="",
            patience_us=0,
            process="",
            is_alone=False,
        )
        self.run(TAKE, ask)


@singleton
def get_store() -> Store:
    """The store of this process, as its settings say."""
    return Store(get_settings())


@functools.cache
def _machine() -> str:
    """Where process ids mean the same: the host, and in it the container."""
    try:
        space = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        space = 0
    return re.sub(r"[^A-Za-z0-9_.]", "_", f"{socket.gethostname()[:48]}.{space}")


def _source(key: Argument) -> str:
    """The hash tag of a key: the source that it belongs to."""
    name = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
    return name.partition("{")[2].partition("}")[0]


def _longer(seconds: float) -> float:
    return min(2 * seconds, LONGEST_PROBE_SECONDS)
