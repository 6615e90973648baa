"""One request for several symbols, where the upstream takes them.

The first symbol leads: its load has the slot, the pages and the bill. Each of the others is a member: it has
a lease of its own, so that nobody else loads it meanwhile, and gets those items of the pages that are about
it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import msgspec

from tbcache.admission import Admission, Ask, Go, Grant, Settlement, traced
from tbcache.fetch.outbox import AnswerSink
from tbcache.fetch.plan import is_packable, joined, stretches
from tbcache.fetch.reader import Fetched, closing
from tbcache.fetch.record import LoadResult, load_result, record_to_extend
from tbcache.fetch.upstream import PackingUpstream, Upstream
from tbcache.io import now, world
from tbcache.io.log import get_logger
from tbcache.models import FetchRequest, Item
from tbcache.models.error import UpstreamError
from tbcache.models.request import Stretch
from tbcache.timeline import Record

log = get_logger("tbcache.fetch")

#: For so long a source that refused several symbols at once is asked for one at a time.
SINGLE_SECONDS = 3600.0
#: The kinds of failure that are about one request, and not about the source.
_OF_REQUEST = frozenset(("bad_request", "not_found", "payload"))


class Member(NamedTuple):
    """A symbol that is loaded along: its lease, what is known of it, and the time to ask for."""

    request: FetchRequest
    grant: Grant
    known: Record
    news: Stretch


class Packs:
    """Which sources this process may ask for several symbols at once."""

    def __init__(self) -> None:
        self._single_until: dict[str, float] = {}

    def takes(self, upstream: Upstream) -> bool:
        source = upstream.source
        may_pack = source.is_packed and isinstance(upstream, PackingUpstream)
        return may_pack and now() >= self._single_until.get(source.name, 0.0)

    def refuse(self, source: str) -> None:
        self._single_until[source] = now() + SINGLE_SECONDS


class Pack:
    """The members of one load. Whoever opens a pack closes it, however the load ends."""

    def __init__(self, upstream: Upstream, admission: Admission, outbox: Callable[[], AnswerSink]) -> None:
        # An upstream that cannot pack has no members: see Packs.takes.
        self._upstream = cast("PackingUpstream", upstream)
        self._admission = admission
        self._outbox = outbox
        self._open: dict[str, Grant] = {}
        self.members: list[Member] = []

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(member.request.symbol for member in self.members)

    async def gather(self, leader: Ask, symbols: Sequence[str], news: Stretch) -> None:
        """Make members of those of ``symbols`` that are due and fit into one request.

        The first symbol is the leader's own; ``news`` is the time that the leader asks for.
        """
        source, wanted = self._upstream.source, cast("FetchRequest", leader.request)
        for symbol in self._upstream.packs(symbols[: source.pack])[1:]:
            request = FetchRequest(source.name, symbol, wanted.hours, rules=wanted.rules)
            ask = msgspec.structs.replace(leader, request=request, slot=None, patience=0.0, is_invited=True)
            await self._invite(ask, request, news)

    def stretch(self, news: Stretch) -> Stretch:
        """The time to ask for, so that it serves the leader, who asks for ``news``, and all members."""
        return joined([news, *(member.news for member in self.members)])

    async def settle(self, fetched: Fetched) -> None:
        """End the load of each member with those items of ``fetched`` that are about its symbol."""
        for member in self.members:
            part = self._part(fetched, member.request.symbol, member.known)
            about = self._upstream, member.request, member.known, part, lambda: self._admission.now
            found = await world().offload(functools.partial(load_result, *about))
            await self._settle(member, found)

    def close(self) -> None:
        """Give back the leases that were not settled, so that somebody else may load these symbols."""
        grants = list(self._open.values())
        self._open, self.members = {}, []
        for grant in grants:
            world().undo(functools.partial(self._admission.settle, grant, Settlement()))

    def part_of(self, fetched: Fetched, request: FetchRequest, known: Record) -> Fetched:
        """Those items of ``fetched`` that are about the leader's symbol."""
        return self._part(fetched, request.symbol, known) if self.members else fetched

    async def _invite(self, ask: Ask, request: FetchRequest, news: Stretch) -> None:
        verdict = await traced(self._admission.admit)(ask)
        if not isinstance(verdict, Go):
            return
        grant = self._open[request.symbol] = verdict.grant
        member = await self._member(request, grant, news)
        if member is None:
            await self._admission.settle(self._open.pop(request.symbol), Settlement())
            return
        await self._admission.free(grant)
        self.members.append(member)

    async def _member(self, request: FetchRequest, grant: Grant, news: Stretch) -> Member | None:
        packed, source = grant.timeline, self._upstream.source
        if packed is None or grant.is_fallback:
            return None
        known = await world().offload(lambda: record_to_extend(self._upstream, packed, request))
        asked = stretches(known, request, source, self._admission.now)
        if known is None or not is_packable(news, asked, source):
            return None
        return Member(request, grant, known, asked[0])

    def _part(self, fetched: Fetched, symbol: str, known: Record) -> Fetched:
        ids = {version.item.identity for version in known.timeline.versions}

        def is_about(item: Item) -> bool:
            # A removed item has no text by which to tell what it is about.
            return item.identity in ids or self._upstream.is_of(item, symbol)

        return replace(fetched, items=tuple(filter(is_about, fetched.items)))

    async def _settle(self, member: Member, found: LoadResult) -> None:
        is_kept = self._upstream.persist_to_db
        where = await self._admission.settle(member.grant, found.settlement(is_kept=is_kept))
        if where == "stored":
            self._admission.count(self._upstream.source, found.naive)
        self._open.pop(member.request.symbol, None)
        if where == "fallback" and is_kept:
            self._outbox().accept(found.answer.with_stored_at(self._admission.now))


def is_of_request(error: UpstreamError) -> bool:
    """Whether an upstream that refused several symbols with ``error`` may still answer for each alone."""
    return error.kind in _OF_REQUEST and closing(error) is None
