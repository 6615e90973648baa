"""What is asked for: the page that follows, what is new, several symbols at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tbcache.fetch.upstream import RecheckingUpstream
from tbcache.models import HttpRequest
from tbcache.models.request import Stretch
from tbcache.providers.conformance.checked import Checked, Finding, ReadPage


def cursor_moves(checked: Checked) -> Iterator[Finding]:
    chains: dict[tuple[str, datetime], set[str]] = {}
    for read, fetch, since in checked.asked:
        cursor, following = read.recording.cursor, read.page.next
        used = chains.setdefault((fetch.symbol, since), set())
        if cursor is not None:
            used.add(cursor)
        if following is None:
            continue
        if following in used:
            what = f"the cursor {following!r:.60} leads to where it has been"
            yield Finding(read.name, what, "Page.next is the cursor of the page that follows")
        elif checked.request(fetch, following, since) == checked.request(fetch, cursor, since):
            what = f"the request for the cursor {following!r:.60} is the same as the one before"
            yield Finding(read.name, what, "put the cursor into the request")


def cursor_ends(checked: Checked) -> Iterator[Finding]:
    ends = [read for read, _, since in checked.asked if read.page.next is None or _reaches(read, since)]
    if not ends and checked.sample is not None:
        right = "record more --pages, or a symbol that is less written of"
        yield Finding("", "no recording is the last page of its hours", right, "not shown")
    for read in ends:
        if read.page.next is None and not read.page.exhausted and not _reaches(read, read.recording.since):
            what = "there is no next page, and nothing says that this was all"
            right = (
                "set Page.exhausted where the upstream states it: without, no answer that ends so is complete"
            )
            yield Finding(read.name, what, right)
    for read in checked.read:
        if read.page.exhausted and read.page.next is not None:
            what = f"it says that this was all, and that {read.page.next!r:.60} follows"
            yield Finding(read.name, what, "set Page.exhausted on the last page alone")


def _reaches(read: ReadPage, since: datetime | None) -> bool:
    return since is not None and bool(read.times) and min(read.times) < since


def since_is_used(checked: Checked) -> Iterator[Finding]:
    """What is asked by time brings what is newer; what cannot be is the newest first, and ends there."""
    for read, fetch, since in checked.asked:
        first = _first_of(checked, fetch.symbol)
        if not read.recording.is_refresh or first is None or first.recording.since is None:
            continue
        again = {item.id for item in read.page.items}
        older = [at for at in read.times if at < since - timedelta(seconds=checked.source.lag_seconds)]
        is_all = len(older) * 2 > len(read.times) and {item.id for item in first.page.items} <= again
        if is_all and checked.source.price.per_item:
            what = f"{len(older)} of {len(read.times)} items are older than since, and each is billed again"
            yield Finding(read.name, what, "ask for what is newer than since")
        # One that is gone since may be any; a page that another follows may not have come to them.
        newer = {item.id for item in first.page.items if item.at is not None and item.at > since}
        if read.page.next is None and len(newer - again) * 2 > len(newer) > 1:
            what = f"{len(newer - again)} of {len(newer)} items that are newer than since are not there"
            yield Finding(read.name, what, "is since asked for in the upstream's zone and unit?")
        earlier = Stretch(first.recording.since)
        asked = fetch.stretch or Stretch(since), earlier
        both = [checked.request(replace(fetch, stretch=one), None, one.since) for one in asked]
        if both[0] == both[1]:
            what = "the request is the same whatever is known: a refresh takes whole pages"
            right = "ask for what is newer than since, or fetch.stretch.since_id, if the upstream can do that"
            yield Finding(read.name, what, right, "wrong" if checked.source.price.per_item else "not shown")
        return
    if checked.sample is not None and not any(one.is_refresh for one in checked.recordings):
        yield Finding("", "no recording is a refresh", "make them by `tbcache record`", "not shown")


def _first_of(checked: Checked, symbol: str) -> ReadPage | None:
    for read, fetch, _ in checked.asked:
        if fetch.symbol == symbol and read.recording.cursor is None and not read.recording.is_refresh:
            return read
    return None


def packs(checked: Checked) -> Iterator[Finding]:
    if checked.source.pack == 1:
        return
    for read, fetch, since in checked.asked:
        symbols = checked.provider.packs((fetch.symbol, "ZZPACK"))
        if symbols[:1] != (fetch.symbol,):
            yield Finding(
                "", f"packs() leaves out the first symbol, {fetch.symbol}", "it leads, and is always in"
            )
        together = replace(fetch, others=tuple(symbols[1:]))
        if len(symbols) > 1 and not _asks_for(checked.request(together, None, since), symbols):
            right = "ask for each of fetch.symbols, or leave `pack` out of the defaults"
            yield Finding("", "a request for several symbols asks for one", right)
        named = sum(checked.provider.is_of(item, fetch.symbol) for item in read.page.items)
        if read.page.items and not named:
            right = "is_of() says whether an item, which came for several symbols, is of one"
            yield Finding(read.name, f"none of its items is_of {fetch.symbol}, which found them", right)
        return


def _asks_for(request: HttpRequest, symbols: Sequence[str]) -> bool:
    words = " ".join((request.url, *request.params.values())).upper()
    return all(symbol in words for symbol in symbols)


def rechecks(checked: Checked) -> Iterator[Finding]:
    if checked.source.recheck_seconds and not isinstance(checked.provider, RecheckingUpstream):
        right = "write them, or leave `recheck_seconds` out of the defaults"
        yield Finding("", "known items are to be asked for, and it has no recheck() and rechecked()", right)
