"""The ground truth: what each item is, which no answer of an upstream says."""

from __future__ import annotations

from typing import Any

from tbcache.embedded.simulator import post
from tbcache.embedded.simulator.dialect import Dialect, stamp
from tbcache.embedded.simulator.stream import Stream

#: So far back at most: thirty days of a busy symbol are 40,000 items.
MOST_HOURS = 720


def truths(dialect: Dialect, symbol: str, start: float, end: float) -> list[dict[str, Any]]:
    """What every item is that names ``symbol``, with ``start <= at < end`` (Unix seconds); newest first.

    ``ids`` are all that it has had, in the order of its edits; ``of`` is the first id of what it repeats,
    quotes or answers. ``place`` is the subreddit or the site. ``stance`` is that of whoever wrote the words.
    What was taken down is there as well.
    """
    return [_truth(dialect, stream, k) for stream, k in dialect.items((symbol,), start, end)]


def _truth(dialect: Dialect, stream: Stream, k: int) -> dict[str, Any]:
    written = post.write(stream, k)
    return {
        "ids": dialect.ids(stream, k),
        "at": stamp(written.at),
        "kind": written.kind,
        "of": None if written.of is None else dialect.ids(stream, written.of)[0],
        "author": written.author.username,
        "place": dialect.place(stream, k),
        "stance": written.stance,
        "lang": written.lang,
        "symbols": written.symbols,
        "edited_at": _time(written.edited_at),
        "removed_at": _time(written.removed_at),
    }


def _time(at: int | None) -> str | None:
    return None if at is None else stamp(at)
