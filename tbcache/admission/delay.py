"""A plan whose items come late: what is asked of it, and how it is learned whether they do.

``Source.delay_hours`` is what the cheapest plan is known for, and says nothing of yours. Where the items do
come late, an ask for hours that all lie in the delay is answered with nothing, by construction, and is not
sent. So that another plan is not taken for such a one, a few asks a day are sent all the same, for the whole
fleet, and reach back twice the delay: items that are newer than the delay show that there is none. Many
items that end where the delay begins, and none newer, are a sign that there is one, and two symbols that
show it settle it for a day: one alone may have had no news of late. Every other answer that reaches so far
back tells the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import tbcache.io as io
from tbcache.io.log import get_logger
from tbcache.models import FetchRequest, Item
from tbcache.settings import Source
from tbcache.store import Store, Unavailable

log = get_logger("tbcache.admission")

#: The findings about a plan: its items come late; they come at once; somebody is asking to find out; some
#: symbols showed nothing new, and others are still to be asked. The last two are followed by what those
#: symbols showed, as in ``doubt:AAPL!,TINY``: an exclamation mark is a sign of a delay.
LATE, PROMPT, ASKING, DOUBT = b"late", b"prompt", b"asking", b"doubt"
DAY_SECONDS = 86400.0
#: For how long a finding holds that shows too little to settle it.
UNSURE_SECONDS = 3600.0
#: How many symbols with a sign of a delay settle it.
ENOUGH_SIGNS = 2
#: After so many symbols that settle nothing, no other is asked until what they showed is forgotten.
MOST_ASKED = 4
#: The longest that finding out takes: whoever died over it is not waited for.
ASKING_SECONDS = 60.0
#: For how long a finding is used before Redis is asked for it again.
LOOK_SECONDS = 10.0
#: How often a finding that stays the same is written to Redis again.
RENEW_SECONDS = 3600.0
#: How many items before the delay, with none in it, are no chance: a plan without a delay would show some.
ENOUGH = 5
#: The part of the delay within which an item is certainly too new for it, whatever the clocks say.
NEW_PART = 0.9
#: Under a delay the newest item stands where it begins, or this part of it further back.
EDGE_PART = 0.1
_SIGN = b"!"


class Reach(NamedTuple):
    """The request that goes upstream, and how late (hours) the plan's items are taken to come."""

    request: FetchRequest
    delay_hours: float


class _Known(NamedTuple):
    finding: bytes
    look_at: float
    until: float


class PlanDelay:
    """What the fleet knows of its plans' delays; without Redis, what this process knows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._finding_out = io.Mutex()
        store.on_fork(self._finding_out.renew)
        self._known: dict[str, _Known] = {}
        #: What this process has written down last, and when.
        self._recorded: dict[str, tuple[bytes, float]] = {}

    async def is_shut(self, source: Source, request: FetchRequest) -> bool:
        """True when nothing can come of ``request``, as far as is known, or as is being found out."""
        return _lies_within(source, request) and _shuts(await self._finding(source.name), request.symbol)

    async def reach(self, source: Source, request: FetchRequest) -> Reach | None:
        """What to send for ``request``; None for nothing, as somebody else has begun to find out."""
        if not source.delay_hours:
            return Reach(request, 0.0)
        finding = await self._finding(source.name)
        if finding == PROMPT:
            return Reach(request, 0.0)
        if not _lies_within(source, request):
            return Reach(request, source.delay_hours)
        if _shuts(finding, request.symbol) or not await self._begin(source.name, finding):
            return None
        hours = min(source.max_hours, 2 * math.ceil(source.delay_hours))
        return Reach(FetchRequest(request.source, request.symbol, hours), source.delay_hours)

    async def learn(self, source: Source, sent: FetchRequest, items: Iterable[Item], now: datetime) -> None:
        """Take note of what came of ``sent``: all its items, those of before the asked time included."""
        if not source.delay_hours:
            return
        delay = timedelta(hours=source.delay_hours)
        # A time that is still to come is a mistake, or a matter of clocks, and shows nothing.
        times = [item.at for item in items if item.at is not None and item.at <= now]
        if any(at > now - NEW_PART * delay for at in times):
            await self._record(source.name, PROMPT, DAY_SECONDS)
        elif not _lies_within(source, sent):
            await self._doubt(source.name, sent.symbol, _is_sign(times, delay, now))

    async def give_up(self, source: Source) -> None:
        """Let others find out at once: the ask that was to do so has failed."""
        finding = await self._finding(source.name)
        if finding is not None and _kind(finding) == ASKING:
            await self._record(source.name, DOUBT + finding.removeprefix(ASKING), UNSURE_SECONDS)

    async def _doubt(self, source: str, symbol: str, is_sign: bool) -> None:
        """Add what ``symbol`` showed, which is nothing new, to what others have."""
        finding = await self._finding(source)
        if (finding is None or _kind(finding) != ASKING) and (finding == LATE or not is_sign):
            return
        shown = _shown(finding) | {symbol.encode(): is_sign}
        if sum(shown.values()) >= ENOUGH_SIGNS:
            await self._record(source, LATE, DAY_SECONDS)
        elif len(shown) >= MOST_ASKED:
            await self._record(source, LATE, UNSURE_SECONDS)
        else:
            marked = (name + _SIGN if found else name for name, found in shown.items())
            await self._record(source, DOUBT + b":" + b",".join(marked), UNSURE_SECONDS)

    async def _finding(self, source: str) -> bytes | None:
        now = io.now()
        known = self._known.get(source)
        if known is not None and now < min(known.look_at, known.until):
            return known.finding
        try:
            finding: bytes | None = await self._store.command("GET", self._store.keys.delay(source))
        except Unavailable:
            return known.finding if known is not None and now < known.until else None
        if finding is None or _kind(finding) not in (LATE, PROMPT, ASKING, DOUBT):
            return None
        # A finding that is not settled is asked for again at once, as it may be settled at any moment.
        look_at = now + LOOK_SECONDS if finding in (LATE, PROMPT) else now
        self._known[source] = _Known(finding, look_at, now + DAY_SECONDS)
        return finding

    async def _begin(self, source: str, finding: bytes | None) -> bool:
        """True for the one that is to find out; ``word`` is what it has found."""
        async with self._finding_out:
            now = io.now()
            asking = ASKING + (finding or b"").removeprefix(DOUBT)
            try:
                if not await self._replace(source, finding, asking):
                    return False
            except Unavailable:
                known = self._known.get(source)
                if known is not None and now < known.until and _kind(known.finding) != DOUBT:
                    return False
            self._known[source] = _Known(asking, now, now + ASKING_SECONDS)
            return True

    async def _replace(self, source: str, finding: bytes | None, asking: bytes) -> bool:
        """Write ``asking`` in the place of ``word``; False where another was quicker."""
        key, milliseconds = self._store.keys.delay(source), round(ASKING_SECONDS * 1000)
        if finding is None:
            return bool(await self._store.command("SET", key, asking, "NX", "PX", milliseconds))
        found: bytes | None = await self._store.command("SET", key, asking, "PX", milliseconds, "GET")
        if found in (LATE, PROMPT):
            # It was settled in between.
            await self._store.command("SET", key, found, "PX", round(DAY_SECONDS * 1000))
        return found is None or found == finding

    async def _record(self, source: str, finding: bytes, seconds: float) -> None:
        now = io.now()
        known, (recorded, recorded_at) = self._known.get(source), self._recorded.get(source, (b"", -math.inf))
        if known is not None and known.finding == finding == recorded and now - recorded_at < RENEW_SECONDS:
            return
        if finding in (LATE, PROMPT) and (known is None or known.finding != finding):
            log.info("plan.learned", source=source, items=finding.decode())
        look_at = now + LOOK_SECONDS if finding in (LATE, PROMPT) else now
        self._known[source] = _Known(finding, look_at, now + seconds)
        self._recorded[source] = (finding, now)
        try:
            await self._store.command(
                "SET", self._store.keys.delay(source), finding, "PX", round(seconds * 1000)
            )
        except Unavailable:
            return


def _lies_within(source: Source, request: FetchRequest) -> bool:
    """True when all the hours of ``request`` lie in the delay."""
    return request.hours <= source.delay_hours


def _is_sign(times: Sequence[datetime], delay: timedelta, now: datetime) -> bool:
    """True for items of which many are older than the delay, the newest just so, as one that ends there."""
    old = [at for at in times if at <= now - delay]
    return len(old) >= ENOUGH and max(times) >= now - (1 + EDGE_PART) * delay


def _kind(finding: bytes) -> bytes:
    return finding.partition(b":")[0]


def _shown(finding: bytes | None) -> dict[bytes, bool]:
    """What each symbol that was asked has shown: True for a sign of a delay."""
    named = (finding or b"").partition(b":")[2]
    return {each.removesuffix(_SIGN): each.endswith(_SIGN) for each in named.split(b",") if each}


def _shuts(finding: bytes | None, symbol: str) -> bool:
    """True where ``symbol`` is not asked for the hours of the delay; in doubt only others are."""
    if finding is None or finding == PROMPT:
        return False
    return _kind(finding) != DOUBT or symbol.encode() in _shown(finding)
