"""The ground truth about each item, which no answer of an upstream states."""

from __future__ import annotations

from typing import Any

from tbcache.embedded.simulator import post
from tbcache.embedded.simulator.api import Api, stamp
from tbcache.embedded.simulator.stream import Stream

#: The truth is given for at most 30 days, in which a busy symbol has 40,000 items.
MOST_HOURS = 720


def truths(api: Api, symbol: str, start: float, end: float) -> list[dict[str, Any]]:
    """The truth about each item that names ``symbol``, with ``start <= at < end`` (Unix seconds); newest
    first.

    ``ids`` are all ids of the item, in the order of its edits; ``of`` is the first id of the item that it
    repeats, quotes or answers. ``text`` is
    what a search looks at, ``place`` is the subreddit or the site, and ``stance`` that of the author of
    the words. Removed items are included, and so are look-alikes, whose ``symbols`` are empty.
    """
    return [_truth(api, stream, k) for stream, k in api.items((symbol,), start, end)]


def _truth(api: Api, stream: Stream, k: int) -> dict[str, Any]:
    written = post.write(stream, k)
    return {
        "ids": api.ids(stream, k),
        "at": stamp(written.at),
        "kind": written.kind,
        "of": None if written.of is None else api.ids(stream, written.of)[0],
        "text": api.text(stream, k),
        "author": written.author.username,
        "place": api.place(stream, k),
        "stance": written.stance,
        "lang": written.lang,
        "symbols": written.symbols,
        "found_at": stamp(written.found_at),
        "edited_at": _time(written.edited_at),
        "removed_at": _time(written.removed_at),
    }


def _time(at: int | None) -> str | None:
    return None if at is None else stamp(at)
