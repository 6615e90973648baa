"""The values that this process has in its memory, by cache key, and which of them may be given when.

Redis is there: what was read from it, while the server is known to tell us of every change (tracking.py).
Whenever that is in doubt, nothing is given.

Redis is away: what was set, or loaded, without it; else what was read before it went, or stored there by this
process, until its TTL is over.

Redis is back: nothing of either. What was changed without it is out of date there, and is put right before
anyone uses it, see :attr:`Memory.changes`. What was loaded without it is due there, see :meth:`Memory.due`.

Beside them there are the timelines that this process has loaded, for when Redis is away: what is known from
them is not bought again. With each stands what was bought of it without Redis, which is due there as well
(:meth:`Memory.bought`). Values and timelines have one bound.

A value that was read before a change and put after it would stay; hence the order
``start = begin(key)``, read, ``put(..., start)``: the put is refused if the key was changed in between.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from tbcache.io.fork import renew_in_child
from tbcache.store import codec
from tbcache.store.change import Changes, Matches, UnwrittenChanges
from tbcache.store.connection import Store
from tbcache.store.glob import compile_glob
from tbcache.store.tracking import Tracking

MISSING: Final[Any] = type("Missing", (), {"__repr__": lambda self: "MISSING", "__slots__": ()})()

MAX_BYTES = 16 * 1024 * 1024
#: Of a timeline of which more was bought without Redis nothing is kept to be put there.
MOST_BOUGHT_BYTES = 128 * 1024
#: Bytes that an entry takes beside its value and its key, roughly.
OVERHEAD_BYTES = 300

_STRIPES = 1024


class ReadStart(NamedTuple):
    """What was true when a read began."""

    generation: int
    changes: int
    started: float


class Encoded(NamedTuple):
    """A value as it is encoded: each reader gets its own, and may change it."""

    payload: bytes


class StandIn(NamedTuple):
    """A value that may be given while Redis is away, and its seconds of freshness: 0 or less if it is stale.

    ``is_fallback``: it was set or loaded without Redis. Any other was read before Redis went away, and others
    may have changed it since.
    """

    value: Any
    fresh_seconds: float
    is_fallback: bool

    @property
    def payload(self) -> bytes:
        """The value's JSON."""
        return self.value.payload if type(self.value) is Encoded else codec.encode(self.value)


class _Timeline(NamedTuple):
    """The name of an entry that is the timeline kept in Redis by ``key``; no value has it."""

    key: str


class _Entry(NamedTuple):
    """Moments are monotonic seconds."""

    value: Any
    fresh_until: float
    gone_at: float
    size: int
    is_fallback: bool
    #: This process has stored it in Redis, and has not read it since.
    is_own: bool = False
    #: The server has told of that change.
    is_told: bool = False
    #: When its load began, of what was loaded without Redis and may be put there.
    began: float = -math.inf
    #: Redis is back, and may lack it.
    is_due: bool = False


class Loaded(NamedTuple):
    """What was loaded without Redis: its JSON, when its load began, until when it is fresh, and when it is
    gone (monotonic seconds).
    """

    payload: bytes
    began: float
    fresh_until: float
    gone_at: float


class Bought(NamedTuple):
    """What was bought of a timeline without Redis: the JSON of what each load has read, the oldest first,
    when the first of them began, when the last was over, and until when that is fresh (monotonic seconds).
    ``is_whole``: nothing was known before the first. ``tries`` is how often it was to be added there in vain.
    """

    parts: tuple[bytes, ...]
    began: float
    ended: float
    fresh_until: float
    is_whole: bool
    tries: int = 0

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))

    def then(self, later: Bought) -> Bought:
        """The same with what was bought ``later``, by a load that may have begun before."""
        return self._replace(
            parts=self.parts + later.parts,
            began=min(self.began, later.began),
            ended=max(self.ended, later.ended),
            fresh_until=max(self.fresh_until, later.fresh_until),
        )


class _Kept(NamedTuple):
    """The JSON of a timeline as it was last loaded, and what of it was bought without Redis."""

    payload: bytes
    bought: Bought | None


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """How full the memory is, and how often it answered.

    ``entries`` are values that were read from Redis, or stored there by this process, ``fallback`` those that
    were set or loaded without it; ``bytes`` are those of both, and of timelines.
    """

    entries: int
    fallback: int
    bytes: int
    hits: int


class Memory:
    """Values by cache key, at most ``max_bytes`` of them; the least recently used go first.

    Put only values that nobody changes: every caller gets the same object. With ``is_tracking``, values
    read from Redis are kept as well; the thread for that and its connection start at the first :meth:`begin`.
    """

    def __init__(self, store: Store, max_bytes: int = MAX_BYTES, *, is_tracking: bool = False) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._tracking = Tracking(store, self) if is_tracking else None
        self._removed: list[Callable[[Matches], None]] = []
        self._entries: OrderedDict[str | _Timeline, _Entry] = OrderedDict()
        self._unwritten = UnwrittenChanges()
        self._generation = self._flushes = 0
        self._was_sure = False
        #: True once something was loaded while Redis was away, and may be put there: see :meth:`due` and
        #: :meth:`bought`.
        self.has_due = False
        self._reset()
        renew_in_child(self)
        # Before this process is connected, nobody tells it what others change.
        store.breaker.on_return(self.flush)

    @property
    def is_tracking(self) -> bool:
        """True where values that are read from Redis are kept, while :attr:`is_on`."""
        return self._tracking is not None

    @property
    def is_on(self) -> bool:
        """True while the server is known to tell us of every change."""
        return time.monotonic() < self._sure_until

    @property
    def stats(self) -> MemoryStats:
        now = time.monotonic()
        with self._lock:
            values = [entry for name, entry in self._entries.items() if isinstance(name, str)]
            fallback = [entry for entry in values if entry.is_fallback]
            fresh = sum(now < entry.gone_at and not entry.is_due for entry in fallback)
            return MemoryStats(len(values) - len(fallback), fresh, self._bytes, self._hits)

    def on_removal(self, callback: Callable[[Matches], None]) -> None:
        """Call ``callback`` whenever this process deletes or clears keys, with a function that says of a key
        whether it is one of them: what is on its way for such a key is not to be kept."""
        self._removed.append(callback)

    def close(self) -> None:
        """Empty it, and read nothing more from Redis into it."""
        with self._lock:
            self._is_closed = True
        if self._tracking is not None:
            self._tracking.close()
        self.trust(0.0)
        self.flush()

    # --- while Redis is there -----------------------------------------------------------------

    def get(self, key: str) -> Any:
        """The value that Redis has, or ``MISSING``."""
        if not self._entries:
            return MISSING
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return MISSING
            now = time.monotonic()
            # The time is looked at as well: a thread that gets no time to run must not
            # leave old values in use.
            if now >= self._sure_until or entry.is_fallback or entry.is_own:
                return MISSING
            if now >= entry.fresh_until:
                self._drop(key)
                return MISSING
            self._entries.move_to_end(key)
            self._hits += 1
            return entry.value

    def removals(self, key: str) -> tuple[int, int]:
        """Equal to what it was before as long as this process has neither deleted nor cleared ``key``, nor
        set it without Redis."""
        return self._clears, self._deletes[hash(key) % _STRIPES]

    def news(self, key: str) -> tuple[int, int, int]:
        """Equal to what it was before as long as nobody is known to have changed ``key``. As the server first
        begins to tell of changes, nobody is."""
        return self._clears, self._flushes, self._changes[hash(key) % _STRIPES]

    def begin(self, key: str) -> ReadStart:
        """Call before reading ``key`` from Redis; :meth:`put` wants what this gives."""
        if self._tracking is not None and not self._tracking.is_running:
            with self._lock:
                if not self._is_closed:
                    self._tracking.start()
        return ReadStart(self._generation, self._changes[hash(key) % _STRIPES], time.monotonic())

    def put(self, key: str, value: Any, ttl: float, start: ReadStart, size: int) -> bool:
        """Keep ``value`` (``size`` bytes), which was read from Redis, for ``ttl`` seconds from ``start`` on.

        False when it was not kept: the key has changed since, changes are not told of, what was set without
        Redis is not put right yet, or the value is too large.
        """
        until = start.started + ttl
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and not entry.is_fallback and not self.is_on:
                # What is read now may be newer: what is here must not stand in after it.
                self._drop(key)
            if (self._generation, self._changes[hash(key) % _STRIPES]) != start[:2] or not self.is_on:
                return False
            if entry is not None and entry.is_fallback and time.monotonic() < entry.gone_at:
                return False
            return self._insert(key, _Entry(value, until, until, size, is_fallback=False))

    def put_own(self, key: str, payload: bytes, ttl: float, start: ReadStart, began: float) -> bool:
        """Keep what this process has stored in Redis since ``start``, for when that is away, and do what
        :meth:`discard` does. ``began`` is when its load did (monotonic seconds).

        False when it was not kept: something was cleared, or may have been, since it began; another may have
        changed the key; or changes are not told of.

        The server tells of our change, too, perhaps later. The first news is taken for that, and any other
        for the change of another. The two are one where another deletes the key in the very round of the
        server's loop that has stored it; hence no such value is given while Redis is there.
        """
        until = start.started + ttl
        with self._lock:
            news = self._changes[hash(key) % _STRIPES] - start.changes
            self._change(key)
            if not self.is_on or began <= self._emptied_at or news > 1:
                return False
            value, size = Encoded(payload), len(payload)
            entry = _Entry(value, until, until, size, is_fallback=False, is_own=True, is_told=news == 1)
            return self._insert(key, entry)

    def discard(self, key: str) -> None:
        """Drop ``key``, and refuse what was read of it until now; call after changing it in Redis."""
        with self._lock:
            self._change(key)

    # --- while Redis is away --------------------------------------------------------------------

    def recall(self, key: str) -> StandIn | None:
        """What may be given for ``key`` by one to whom Redis did not answer."""
        with self._lock:
            entry, now = self._entries.get(key), time.monotonic()
            if entry is None or now >= entry.gone_at:
                return None
            # Where Redis refuses one command, or one source, it is there: others change what it has.
            if entry.is_due or (not entry.is_fallback and self._store.is_available):
                return None
            self._entries.move_to_end(key)
            return StandIn(entry.value, entry.fresh_until - now, entry.is_fallback)

    def set(self, key: str, payload: bytes, ttl: float, removals: tuple[int, int] | None = None) -> bool:
        """Keep what was set without Redis; False when it is too large for that.

        With ``removals``, from :meth:`removals`, it was loaded since then, and is not kept where ``key`` was
        set or removed meanwhile.
        """
        with self._lock:
            if removals is None:
                self._deletes[hash(key) % _STRIPES] += 1
            elif removals != self.removals(key):
                return False
            self._unwritten.add_key(key)
            return self._set(key, payload, ttl, 0.0)

    def put_loaded(
        self, key: str, payload: bytes, ttl: float, stale_ttl: float, *, began: float | None = None
    ) -> bool:
        """Keep an answer that was loaded without Redis; False when it is too large for that. With ``began``,
        when its load did, it is to be put there (:meth:`due`).

        What Redis has is older, and no less true until its own TTL is over: there is nothing to be put right.
        """
        with self._lock:
            return self._set(key, payload, ttl, stale_ttl, began)

    def due(self, key: str) -> Loaded | None:
        """What this process has loaded under ``key`` in an absence of Redis that is over, and may put there.

        It is given to nobody from here: another may have removed it in Redis meanwhile.
        """
        entry = self._entries.get(key)
        return None if entry is None or not entry.is_due else _loaded(entry)

    def done(self, key: str, due: Loaded) -> None:
        """It was put there, or is not to be."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.is_due and _loaded(entry) == due:
                self._drop(key)

    def forget_due(self) -> None:
        """Nothing of what was loaded without Redis until now is to be put there."""
        with self._lock:
            for name, entry in list(self._entries.items()):
                if entry.began == -math.inf:
                    continue
                if isinstance(name, _Timeline):
                    self._put_line(name.key, entry.value.payload, None)
                elif entry.is_due:
                    self._drop(name)
                else:
                    self._entries[name] = entry._replace(began=-math.inf)

    # --- timelines ------------------------------------------------------------------------------

    def timeline(self, key: str) -> bytes | None:
        """The JSON of the timeline by ``key``, as this process last loaded it."""
        with self._lock:
            if (entry := self._entries.get(_Timeline(key))) is None:
                return None
            self._entries.move_to_end(_Timeline(key))
            return cast(_Kept, entry.value).payload

    def put_timeline(self, key: str, line: bytes, *, in_redis: bool, bought: Bought | None = None) -> None:
        """Keep the JSON of a timeline for when Redis is away, where there is room for it; one that Redis has
        only where anything that it has is kept. ``bought`` is what was just bought of it without Redis.
        """
        if self.is_tracking or not in_redis:
            with self._lock:
                known = self._entries.get(_Timeline(key))
                before = None if known is None else cast(_Kept, known.value).bought
                self._put_line(key, line, bought if before is None or bought is None else before.then(bought))

    def bought(self, key: str) -> Bought | None:
        """What this process has bought of the timeline by ``key`` in an absence of Redis that is over."""
        entry = self._entries.get(_Timeline(key))
        return None if entry is None or not entry.is_due else cast(_Kept, entry.value).bought

    def offered(self, key: str, due: Bought, *, is_again: bool = False) -> None:
        """It was added to the timeline in Redis, or is not to be; ``is_again``: it is to be tried again."""
        with self._lock:
            entry = self._entries.get(_Timeline(key))
            if entry is not None and entry.is_due and cast(_Kept, entry.value).bought == due:
                left = due._replace(tries=due.tries + 1) if is_again else None
                self._put_line(key, cast(_Kept, entry.value).payload, left, is_due=is_again)

    # --- what is removed ------------------------------------------------------------------------

    def delete(self, key: str, *, in_redis: bool) -> bool:
        """Drop ``key``, and refuse what is on its way; True when a fresh value was here that could be given.

        ``in_redis``: it was removed there as well.
        """
        kept = self.recall(key)
        with self._lock:
            self._deletes[hash(key) % _STRIPES] += 1
            self._change(key)
            self._drop_timelines()
            if not in_redis:
                self._unwritten.add_key(key)
        self._tell(key.__eq__)
        return kept is not None and kept.fresh_seconds > 0

    def clear(self, pattern: str, *, in_redis: bool) -> int:
        """Drop what matches the glob, and refuse what is on its way; how many values that were.

        ``in_redis``: it was cleared there as well.
        """
        glob = compile_glob(pattern)

        def matches(key: str) -> object:
            return glob.fullmatch(key.encode())

        with self._lock:
            self._clears += 1
            self._empty()
            self._drop_timelines()
            found = [key for key in self._entries if isinstance(key, str) and matches(key)]
            now = time.monotonic()
            count = sum(now < self._drop(key).gone_at for key in found)
            if not in_redis:
                self._unwritten.add_pattern(pattern)
        self._tell(matches)
        return count

    # --- when Redis is back ---------------------------------------------------------------------

    @property
    def is_changed(self) -> bool:
        """True from the first change without Redis until all are put right."""
        return bool(self._unwritten)

    @property
    def changes(self) -> Changes:
        """What is to be put right in Redis before it is used."""
        with self._lock:
            return self._unwritten.so_far

    def put_right(self, done: Changes) -> None:
        """Strike off what has been put right; what was set there is not given any more."""
        matches = done.matcher()
        with self._lock:
            self._unwritten.strike_off(done)
            self._drop_fallback(matches)

    def forget_fallback(self) -> None:
        """Give nothing any more that was set or loaded without Redis: it knows better again, or is to be told
        of what was loaded (:meth:`due`)."""
        with self._lock:
            for name, entry in list(self._entries.items()):
                if entry.began > -math.inf:
                    self._entries[name] = entry._replace(is_due=True)
                    self.has_due = True
            self._drop_fallback(lambda key: not self._entries[key].is_due)

    # --- what the server tells (tracking.py) ----------------------------------------------------

    def trust(self, until: float) -> None:
        """Trust the values until then (monotonic seconds): all changes are told of."""
        with self._lock:
            self._sure_until = 0.0 if self._is_closed else until
            self._was_sure = self._was_sure or self._sure_until > 0

    def invalidate(self, key: str) -> None:
        """Drop what was read of ``key``, and refuse what was read until now."""
        with self._lock:
            entry = self._entries.get(key)
            # The news may be of before Redis went, and what was set without it is newer than that.
            is_dropped = entry is not None and not entry.is_fallback
            if entry is not None and entry.is_own and not entry.is_told:
                self._entries[key], is_dropped = entry._replace(is_told=True), False
            self._change(key, 1, is_dropped=is_dropped)

    def flush(self) -> None:
        """Drop everything that was read from Redis, and refuse what was read until now."""
        with self._lock:
            self._empty()
            self._flushes += self._was_sure
            kept = [
                (name, entry)
                for name, entry in self._entries.items()
                if entry.is_fallback or isinstance(name, _Timeline)
            ]
            self._entries = OrderedDict(kept)
            self._bytes = sum(entry.size for _, entry in kept)

    # --- with the lock held ---------------------------------------------------------------------

    def _set(
        self, key: str, payload: bytes, ttl: float, stale_ttl: float, began: float | None = None
    ) -> bool:
        self._change(key)
        until = time.monotonic() + ttl
        entry = _Entry(Encoded(payload), until, until + stale_ttl, len(payload), is_fallback=True)
        return self._insert(key, entry if began is None else entry._replace(began=began))

    def _put_line(self, key: str, line: bytes, bought: Bought | None, *, is_due: bool = False) -> None:
        size, began = len(line), -math.inf
        if bought is not None and bought.size <= MOST_BOUGHT_BYTES:
            size, began = size + bought.size, bought.began
        else:
            bought = None
        entry = _Entry(_Kept(line, bought), math.inf, math.inf, size, is_fallback=False)
        self._insert(_Timeline(key), entry._replace(began=began, is_due=is_due))

    def _insert(self, name: str | _Timeline, entry: _Entry) -> bool:
        key = name if isinstance(name, str) else name.key
        entry = entry._replace(size=entry.size + OVERHEAD_BYTES + len(key))
        if entry.size > self._max_bytes:
            return False
        if name in self._entries:
            self._drop(name)
        self._entries[name] = entry
        self._bytes += entry.size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
        return True

    def _empty(self) -> None:
        self._generation += 1
        self._emptied_at = time.monotonic()

    def _change(self, key: str, count: int = 2, *, is_dropped: bool = True) -> None:
        """News of the server's counts as one change, a change by this process as two, see :meth:`put_own`."""
        self._changes[hash(key) % _STRIPES] += count
        if is_dropped and key in self._entries:
            self._drop(key)

    def _drop(self, name: str | _Timeline) -> _Entry:
        entry = self._entries.pop(name)
        self._bytes -= entry.size
        return entry

    def _drop_fallback(self, matches: Matches) -> None:
        found = [
            name
            for name, entry in self._entries.items()
            if isinstance(name, str) and entry.is_fallback and matches(name)
        ]
        for name in found:
            self._drop(name)

    def _drop_timelines(self) -> None:
        """Something was removed that one of them may have been made of."""
        for name in [name for name in self._entries if isinstance(name, _Timeline)]:
            self._drop(name)

    # --- without it -----------------------------------------------------------------------------

    def _tell(self, matches: Matches) -> None:
        for callback in self._removed:
            callback(matches)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._is_closed = False
        self._entries = OrderedDict()
        self._bytes = self._hits = 0
        self._unwritten = UnwrittenChanges()
        self._sure_until, self._was_sure = 0.0, False
        self._empty()
        # Counters shared by keys of one hash: a put refused for a neighbour's sake
        # costs one read, counters for every key would cost memory for ever.
        self._changes = [0] * _STRIPES
        self._clears, self._deletes = 0, [0] * _STRIPES
        self._flushes = 0

    def renew(self) -> None:
        """Begin anew in a forked child, to which the server tells nothing. What was set without Redis is the
        child's as well, unless another thread was in the midst of a change."""
        is_whole = not self._lock.locked()
        entries, unwritten = self._entries, self._unwritten
        self._reset()
        if self._tracking is not None:
            self._tracking.renew()
        if is_whole:
            self._entries, self._unwritten = entries, unwritten
            self.flush()


def _loaded(entry: _Entry) -> Loaded:
    return Loaded(entry.value.payload, entry.began, entry.fresh_until, entry.gone_at)
