"""What is made of an answer: its items, their ids and times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime, timedelta

from tbcache.models import Item
from tbcache.models.error import UpstreamError, UpstreamPayloadError
from tbcache.providers.conformance.checked import Checked, Finding, ReadPage

_BY_ZONE = "read times by tbcache.models.coerce.moment(), which says their zone"
#: So far ahead an upstream's clock may be, and so much later a request may arrive.
_AHEAD = timedelta(minutes=5)


def each_parses(checked: Checked) -> Iterator[Finding]:
    for recording in checked.recordings:
        is_success = recording.response.status < 300
        try:
            checked.parse(recording.response)
        except UpstreamPayloadError as error:
            if is_success:
                right = _BY_ZONE if "zone" in error.message else "read it in parse()"
                yield Finding(recording.name, f"a success cannot be read: {error.message}", right)
        except UpstreamError:
            continue
        else:
            if not is_success:
                right = "begin parse() with self.read_json(response)"
                yield Finding(recording.name, f"status {recording.response.status} is read as a page", right)
    if checked.sample is None:
        yield Finding("", "no recording has an item", "record a symbol that is written of", "not shown")


def ids_are_unique(checked: Checked) -> Iterator[Finding]:
    for read in checked.read:
        ids = [item.id for item in read.page.items]
        if twice := sorted({id for id in ids if ids.count(id) > 1}) if len(set(ids)) < len(ids) else []:
            right = "take the upstream's own id, and pass the items through tbcache.models.coerce.unique()"
            yield Finding(read.name, f"{len(twice)} ids come more than once, like {twice[0]!r:.60}", right)
        if any(not id for id in ids):
            yield Finding(read.name, "an item has an empty id", "take the upstream's own id")


def ids_are_stable(checked: Checked) -> Iterator[Finding]:
    for read in checked.read:
        known = read.recording.ids
        now = tuple(item.id for item in read.page.items)
        if known is not None and now != known:
            differ = next(
                (f"{a!r:.60} was {b!r:.60}" for a, b in zip(now, known, strict=False) if a != b), ""
            )
            what = f"the ids are others than when it was recorded: {differ or f'{len(now)} of {len(known)}'}"
            right = "an id may hang on nothing but the item: hash() and uuid4() differ in each process"
            yield Finding(read.name, what, right)
    yield from _same_items(checked)
    yield from _other_items(checked)


def _same_items(checked: Checked) -> Iterator[Finding]:
    """One item that comes in two recordings has one id."""
    seen: dict[object, tuple[str, str]] = {}
    for read in checked.read:
        here: dict[object, tuple[str, str]] = {}
        for item in read.page.items:
            if item.author is None or item.at is None or len(item.text) < 20:
                continue
            what = item.author, item.at, item.text
            if what in seen and seen[what][0] != item.id:
                text = f"{item.id!r:.60} has been {seen[what][0]!r:.60} in {seen[what][1]}"
                yield Finding(read.name, text, "take the upstream's own id: it is the same on each page")
                return
            here.setdefault(what, (item.id, read.name))
        seen |= here


def _other_items(checked: Checked) -> Iterator[Finding]:
    """One id is of one item, whose time stays, whatever becomes of its text."""
    seen: dict[str, tuple[Item, str]] = {}
    for read in checked.read:
        again = [(item, *seen[item.id]) for item in read.page.items if item.id in seen]
        others = [(item, name) for item, known, name in again if _is_other(item, known)]
        if len(others) * 2 > len(again) and len(others) > 1:
            item, name = others[0]
            what = f"{len(others)} ids are of other items than in {name}, like {item.id!r:.60}"
            yield Finding(read.name, what, "take the upstream's own id, and not the place on the page")
            return
        seen |= {item.id: (item, read.name) for item in read.page.items}


def _is_other(item: Item, known: Item) -> bool:
    return item.at is not None and item.at != known.at and item.text != known.text


def times_are_right(checked: Checked) -> Iterator[Finding]:
    for read in checked.read:
        if read.page.items and not read.times:
            right = "without Item.at nothing says how far back an answer reaches"
            yield Finding(read.name, "no item has a time", right)
    for read, _, since in checked.asked:
        yield from _within(read, since)


def _within(read: ReadPage, since: datetime) -> Iterator[Finding]:
    received = read.recording.response.received_at
    if read.times and max(read.times) > received + _AHEAD:
        ahead = (max(read.times) - received).total_seconds() / 3600
        right = "is it read in the upstream's zone and unit? coerce.moment() takes s, ms and us, and ISO 8601"
        yield Finding(read.name, f"an item is {ahead:.1f} h later than its answer", right)
    # Of the first page at least one item is of the time that was asked for, or its times are read wrong.
    is_first = read.recording.cursor is None and not read.recording.is_refresh
    if is_first and read.times and max(read.times) < since - _AHEAD:
        what = f"all items are older than what was asked for: {max(read.times):%Y-%m-%d %H:%M} at most"
        yield Finding(read.name, what, "are the times read in the right unit, and is the newest asked for?")


def items_keep_to_bounds(checked: Checked) -> Iterator[Finding]:
    """What does not is cut, replaced or left out when a worker reads it, in silence."""
    for read in checked.read:
        written = checked.provider.parse(read.recording.response).items
        for item, kept in zip(written, read.page.items, strict=False):
            if changed := _differing(item, kept):
                what = f"{', '.join(changed)} of item {kept.id!r:.60} cannot be kept as it is"
                yield Finding(read.name, what, "see tbcache/fetch/page.py for how long each may be")
                break
            if kept.score is not None and not -1 <= kept.score <= 1:
                what = f"item {kept.id!r:.60} has the score {kept.score:g}"
                yield Finding(
                    read.name, what, "a score is from -1 to 1; how much an item counts is its weight"
                )
                break


def _differing(item: Item, kept: Item) -> list[str]:
    return [one.name for one in fields(Item) if getattr(item, one.name) != getattr(kept, one.name)]


def newest_first(checked: Checked) -> Iterator[Finding]:
    for read in checked.read:
        pairs = list(zip(read.times, read.times[1:], strict=False))
        if sum(newer < older for newer, older in pairs) * 3 > len(pairs) > 3:
            right = "ask for the newest first: paging ends at the first page that is old enough"
            yield Finding(read.name, "the items are not the newest first", right)


def parse_is_pure(checked: Checked) -> Iterator[Finding]:
    for read in checked.read:
        again = checked.parse(read.recording.response)
        if again != read.page:
            pairs = zip(read.page.items, again.items, strict=False)
            odd = next((f": item {a.id!r:.60}" for a, b in pairs if a != b), "")
            right = "parse() may look at nothing but the response: no clock, no chance, no state"
            yield Finding(read.name, f"it is another page when it is read again{odd}", right)


def pages_cost_what_is_said(checked: Checked) -> Iterator[Finding]:
    price = checked.source.price
    for read in checked.read:
        if price.per_item and len(read.page.items) > price.page_items:
            what = f"{len(read.page.items)} items are billed, and the price says {price.page_items} at most"
            yield Finding(read.name, what, "set Price.page_items to what a page brings, as it is asked for")
        if price.per_user and len(read.page.users) > price.page_users:
            what = f"{len(read.page.users)} users are billed, and the price says {price.page_users} at most"
            yield Finding(read.name, what, "set Price.page_users, or ask for none")
