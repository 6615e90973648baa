"""What can be done to what is kept: fetch an answer anew, or remove some."""

from __future__ import annotations

from collections.abc import Mapping

from tbcache.api.page.verb import Doing, Question, Verb
from tbcache.api.page.words import age, many
from tbcache.models import FetchRequest
from tbcache.models.age import size
from tbcache.models.untrusted import whole_number

#: So many values are listed beside the question.
MOST_LISTED = 20


def _request(do: Doing) -> FetchRequest:
    return FetchRequest(do.fleet.source_name(do.field("source")), do.field("symbol"))


def _ask_warm(do: Doing) -> str:
    request = _request(do)
    return f"Fetch {request.symbol} from {request.source} now? It takes a slot, and may cost money."


def _warm(do: Doing) -> str:
    request = _request(do)
    (handle,) = do.operator.warm([request], "interactive")
    word = {"hit": "is not needed: its answer is fresh", "queued": "is queued"}.get(
        handle.state, "was queued already"
    )
    return f"The fetch of {request.symbol} from {request.source} {word}."


def _ask_clear(do: Doing) -> Question:
    pattern = do.field("pattern")
    found = do.fleet.preview(pattern)
    if not found.count:
        near = found.near or "."
        return Question(f"Nothing is cached that matches {pattern}{near} Clear what is being fetched for it?")
    match = "matches" if found.count == 1 else "match"
    known = f"{found}"
    return Question(
        f"Remove the {many(found.count, 'cached value')} that {match} {pattern}? "
        f"{known[:1].upper()}{known[1:]}.",
        ("Value", "Size", "Age"),
        [
            (one.key, size(one.bytes), "—" if one.age is None else age(one.age))
            for one in found.values[:MOST_LISTED]
        ],
        found.count,
    )


def _clear(do: Doing) -> str:
    count = do.operator.clear(do.field("pattern"))
    asked = whole_number(do.fields.get("count"))
    more = 0 if asked is None else count - asked
    since = f"; {more:,} of them had come since you were asked" if more > 0 else ""
    return f"{many(count, 'cached value')} {'is' if count == 1 else 'are'} removed{since}."


_OTHER_PATTERN = ("pattern", "Another pattern, like news:GME:*")

VERBS: Mapping[str, Verb] = {
    "warm": Verb("Fetch", "tbcache enqueue {source} {symbol}", _ask_warm, _warm),
    "clear": Verb("Clear", "tbcache cache clear {pattern}", _ask_clear, _clear, other=_OTHER_PATTERN),
}
