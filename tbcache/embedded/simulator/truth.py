"""The ground truth: what each item is, which no answer of an upstream says."""

from __future__ import annotations

from typing import Any

from tbcache.embedded.simulator import post
from tbcache.embedded.simulator.api import Api, stamp
from tbcache.embedded.simulator.stream import Stream

#: So far back at most: thirty days of a busy symbol are 40,000 items.
MOST_HOURS = 720


def truths(api: Api, symbol: str, start: float, end: float) -> list[dict[str, Any]]:
    """What every item is that names ``symbol``, with ``start <= at < end`` (Unix seconds); newest first.

    ``ids`` are all that it has had, in the order of its edits; ``of`` is the first id of what it repeats,
    quotes or answers. ``place`` is the subreddit or the site. ``stance`` is that of whoever wrote the words.
    What was taken down is there as well, and so is what is spelled like ``symbol`` and speaks of something
    else, whose ``symbols`` are none.
    """
    return [_truth(api, stream, k) for stream, k in api.items((symbol,), start, end)]


def _truth(api: Api, stream: Stream, k: int) -> dict[str, Any]:
    written = post.write(stream, k)
    return {
        "ids": api.ids(stream, k),
        "at": stamp(written.at),
        "kind": written.kind,
        "of": None if written.of is None else api.ids(stream, written.of)[0],
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
