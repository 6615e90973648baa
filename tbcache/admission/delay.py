"""Whether the items of a plan come late, and what is asked of a plan where they do.

``Source.delay_hours`` is the delay of the source's cheapest plan. The user's own plan may have none. Where
there is a delay, a request for hours that all lie within it always brings nothing, so it is not sent. To find
out which plan it is, the fleet sends a few such requests a day all the same, and has them reach back twice
the delay:

- Items that are newer than the delay show that there is none.
- Many items that end where the delay begins, with none newer, are a sign that there is one. Two symbols with
  this sign settle it for a day, because one symbol alone may have had no news of late.

Any other answer that reaches back so far is judged in the same way.
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

#: What may be known of a plan: its items come late; they come at once; a process is finding out; or some
#: symbols showed nothing new, and others are still to be asked. The last two are followed by the symbols that
#: were asked, as in ``doubt:AAPL!,TINY``. An exclamation mark stands behind a symbol that showed the sign of
#: a delay.
LATE, PROMPT, ASKING, DOUBT = b"late", b"prompt", b"asking", b"doubt"
DAY_SECONDS = 86400.0
#: For how long a finding holds that does not settle the question.
UNSURE_SECONDS = 3600.0
#: So many symbols with the sign of a delay settle that there is one.
ENOUGH_SIGNS = 2
#: After so many symbols that settled nothing, no other symbol is asked until their findings have expired: a
#: source of many quiet symbols would spend its limit on finding out.
MOST_ASKED = 4
#: A process that is finding out has so many seconds for it. Then another may, as the first may have died.
ASKING_SECONDS = 60.0
#: For how long a finding is used before Redis is asked for it again.
LOOK_SECONDS = 10.0
#: How often a finding that stays the same is written to Redis again.
RENEW_SECONDS = 3600.0
#: So many items before the delay and none within it are no accident: a plan without a delay would have some.
ENOUGH = 5
#: An item that is younger than this part of the delay shows that there is none. The rest of the delay allows
#: for clocks that differ.
NEW_PART = 0.9
#: With a delay, the newest item is as old as the delay, or older by this part of it at most.
EDGE_PART = 0.1
_SIGN = b"!"


class Reach(NamedTuple):
    """The request that goes upstream, and the delay of the plan (hours) that its answer is read with."""

    request: FetchRequest
    delay_hours: float


class _Known(NamedTuple):
    finding: bytes
    look_at: float
    until: float


class PlanDelay:
    """What the fleet knows of its plans' delays. While Redis is away, what this process knows counts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._finding_out = io.Mutex()
        self._known: dict[str, _Known] = {}
        #: What this process wrote to Redis last, and when (monotonic).
        self._recorded: dict[str, tuple[bytes, float]] = {}

    async def why_shut(self, source: Source, request: FetchRequest) -> str | None:
        """Why nothing is sent for ``request``: it would bring nothing ("plan_delay"), or whether it would is
        being found out ("plan_unknown"); None where it is sent.
        """
        if not _lies_within(source, request):
            return None
        finding = await self._finding(source.name)
        if not _shuts(finding, request.symbol):
            return None
        return "plan_delay" if finding == LATE else "plan_unknown"

    async def reach(self, source: Source, request: FetchRequest) -> Reach | None:
        """What to send for ``request``; None where nothing is to be sent, as another is finding out."""
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
        """Learn from the answer to ``sent``. ``items`` are all of its items, those from before the hours that
        were asked for included.
        """
        if not source.delay_hours:
            return
        delay = timedelta(hours=source.delay_hours)
        # An item that seems to be from the future has a wrong time, or the clocks differ: it shows nothing.
        times = [item.at for item in items if item.at is not None and item.at <= now]
        if any(at > now - NEW_PART * delay for at in times):
            await self._record(source.name, PROMPT, DAY_SECONDS)
        elif not _lies_within(source, sent):
            await self._doubt(source.name, sent.symbol, _is_sign(times, delay, now))

    async def give_up(self, source: Source) -> None:
        """The request that was to find out has failed: let another process do so at once."""
        finding = await self._finding(source.name)
        if finding is not None and _kind(finding) == ASKING:
            await self._record(source.name, DOUBT + finding.removeprefix(ASKING), UNSURE_SECONDS)

    async def _doubt(self, source: str, symbol: str, is_sign: bool) -> None:
        """Add ``symbol``, which showed nothing new, to the symbols that were asked."""
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
        # A finding that is not settled is read again each time, because it may be settled at any moment.
        look_at = now + LOOK_SECONDS if finding in (LATE, PROMPT) else now
        self._known[source] = _Known(finding, look_at, now + DAY_SECONDS)
        return finding

    async def _begin(self, source: str, finding: bytes | None) -> bool:
        """True for the one process that is to find out. ``finding`` is what it has read before."""
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
        """Write ``asking`` in the place of ``finding``; False where another process was quicker."""
        key, milliseconds = self._store.keys.delay(source), round(ASKING_SECONDS * 1000)
        if finding is None:
            return bool(await self._store.command("SET", key, asking, "NX", "PX", milliseconds))
        found: bytes | None = await self._store.command("SET", key, asking, "PX", milliseconds, "GET")
        if found in (LATE, PROMPT):
            # It was settled in between, and this command has overwritten that: it is put back.
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
    """True where all hours of ``request`` lie within the delay."""
    return request.hours <= source.delay_hours


def _is_sign(times: Sequence[datetime], delay: timedelta, now: datetime) -> bool:
    """True where the items look as a delay has them: many are older than it, and the newest only just."""
    old = [at for at in times if at <= now - delay]
    return len(old) >= ENOUGH and max(times) >= now - (1 + EDGE_PART) * delay


def _kind(finding: bytes) -> bytes:
    return finding.partition(b":")[0]


def _shown(finding: bytes | None) -> dict[bytes, bool]:
    """The symbols that were asked; True for each that showed the sign of a delay."""
    named = (finding or b"").partition(b":")[2]
    return {each.removesuffix(_SIGN): each.endswith(_SIGN) for each in named.split(b",") if each}


def _shuts(finding: bytes | None, symbol: str) -> bool:
    """True where ``symbol`` is not to be asked for the hours of the delay. While that is in doubt, only
    symbols that were not asked before are.
    """
    if finding is None or finding == PROMPT:
        return False
    return _kind(finding) != DOUBT or symbol.encode() in _shown(finding)
