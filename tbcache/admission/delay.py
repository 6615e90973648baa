"""A plan whose items come late: what is asked of it, and how it is learned whether they do.

``Source.delay_hours`` is what the cheapest plan is known for, and says nothing of yours. Where the items do
come late, an ask for hours that all lie in the delay is answered with nothing, by construction, and is not
sent. So that another plan is not taken for such a one, one ask a day is sent all the same, for the whole
fleet, and reaches back twice the delay: items that are newer than the delay show that there is none; many
items, and none newer, that there is. Every other answer that reaches so far back tells the same.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from tbcache.log import get_logger
from tbcache.models import FetchRequest, Item
from tbcache.sources import Source
from tbcache.store import Store, Unavailable

log = get_logger("tbcache.admission")

#: What is known of a plan: items come late; they come at once; somebody has asked to find out.
LATE, PROMPT, ASKING = b"late", b"prompt", b"asking"
DAY_SECONDS = 86400.0
#: An answer that shows too little is worth so much.
UNSURE_SECONDS = 3600.0
#: The longest that finding out takes: whoever died over it is not waited for.
ASKING_SECONDS = 60.0
#: What Redis said is believed for so long.
LOOK_SECONDS = 10.0
#: What is learned again is written down so often.
RENEW_SECONDS = 3600.0
#: So many items before the delay, and none in it, are no chance: a plan without one would show some.
ENOUGH = 5
#: The part of the delay within which an item is certainly too new for it, whatever the clocks say.
NEW_PART = 0.9


class Reach(NamedTuple):
    """The request that goes upstream, and how late (hours) the plan's items are taken to come."""

    request: FetchRequest
    delay_hours: float


class _Known(NamedTuple):
    word: bytes
    look_at: float
    until: float


class PlanDelay:
    """What the fleet knows of its plans' delays; without Redis, what this process knows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._renew_lock()
        store.on_fork(self._renew_lock)
        self._known: dict[str, _Known] = {}
        #: When this process has written down what.
        self._noted: dict[tuple[str, bytes], float] = {}

    def _renew_lock(self) -> None:
        """Also after a fork: another thread of the parent may have held it."""
        self._lock = threading.Lock()

    def is_shut(self, source: Source, request: FetchRequest) -> bool:
        """True when nothing can come of ``request``, as far as is known, or as is being found out."""
        return _lies_within(source, request) and self._word(source.name) in (LATE, ASKING)

    def reach(self, source: Source, request: FetchRequest) -> Reach | None:
        """What to send for ``request``; None for nothing, as somebody else has begun to find out."""
        if not source.delay_hours:
            return Reach(request, 0.0)
        word = self._word(source.name)
        if word == PROMPT:
            return Reach(request, 0.0)
        if not _lies_within(source, request):
            return Reach(request, source.delay_hours)
        if word is not None or not self._begin(source.name):
            return None
        hours = min(source.max_hours, 2 * math.ceil(source.delay_hours))
        return Reach(FetchRequest(request.source, request.symbol, hours), source.delay_hours)

    def learn(self, source: Source, sent: FetchRequest, items: Iterable[Item], now: datetime) -> None:
        """Take note of what came of ``sent``: all its items, those of before the asked time included."""
        if not source.delay_hours:
            return
        delay = timedelta(hours=source.delay_hours)
        times = [item.at for item in items if item.at is not None]
        if any(at > now - NEW_PART * delay for at in times):
            self._note(source.name, PROMPT, DAY_SECONDS)
        elif sum(at <= now - delay for at in times) >= ENOUGH:
            self._note(source.name, LATE, DAY_SECONDS)
        elif self._word(source.name) == ASKING and not _lies_within(source, sent):
            self._note(source.name, LATE, UNSURE_SECONDS)

    def _word(self, source: str) -> bytes | None:
        now = time.monotonic()
        known = self._known.get(source)
        if known is not None and now < min(known.look_at, known.until):
            return known.word
        try:
            word: bytes | None = self._store.call("GET", self._store.keys.delay(source))
        except Unavailable:
            return known.word if known is not None and now < known.until else None
        if word not in (LATE, PROMPT, ASKING):
            return None
        # One that is still asking is heard of again at once, as soon as it knows.
        self._known[source] = _Known(word, now if word == ASKING else now + LOOK_SECONDS, now + DAY_SECONDS)
        return word

    def _begin(self, source: str) -> bool:
        """True for the one that is to find out."""
        key, milliseconds = self._store.keys.delay(source), round(ASKING_SECONDS * 1000)
        with self._lock:
            now = time.monotonic()
            try:
                if not self._store.call("SET", key, ASKING, "NX", "PX", milliseconds):
                    return False
            except Unavailable:
                known = self._known.get(source)
                if known is not None and now < known.until:
                    return False
            self._known[source] = _Known(ASKING, now, now + ASKING_SECONDS)
            return True

    def _note(self, source: str, word: bytes, seconds: float) -> None:
        now = time.monotonic()
        known, noted_at = self._known.get(source), self._noted.get((source, word), -math.inf)
        if known is not None and known.word == word and now - noted_at < RENEW_SECONDS:
            return
        if known is None or known.word != word:
            log.info("plan.learned", source=source, items=word.decode())
        self._known[source] = _Known(word, now + LOOK_SECONDS, now + seconds)
        self._noted[source, word] = now
        try:
            self._store.call("SET", self._store.keys.delay(source), word, "PX", round(seconds * 1000))
        except Unavailable:
            return


def _lies_within(source: Source, request: FetchRequest) -> bool:
    """True when all the hours of ``request`` lie in the delay."""
    return request.hours <= source.delay_hours
