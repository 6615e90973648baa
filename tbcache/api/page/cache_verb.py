"""What can be done to what is kept: fetch an answer anew, or remove some."""

from __future__ import annotations

from collections.abc import Mapping

from tbcache.api.page.verb import Doing, Verb
from tbcache.models import FetchRequest


def _request(do: Doing) -> FetchRequest:
    return FetchRequest(do.fleet.source_name(do.field("source")), do.field("symbol"))


def _ask_warm(do: Doing) -> str:
    request = _request(do)
    return f"Fetch {request.symbol} from {request.source} now? It takes a slot, and may cost money."


def _warm(do: Doing) -> str:
    request = _request(do)
    handle = do.fleet.enqueue(request, "interactive")
    word = {"hit": "is not needed: its answer is fresh", "queued": "is queued"}.get(
        handle.state, "was queued already"
    )
    return f"The fetch of {request.symbol} from {request.source} {word}."


def _ask_clear(do: Doing) -> str:
    pattern = do.field("pattern")
    return f"Remove the {do.fleet.count(pattern):,} cached values that match {pattern}?"


def _clear(do: Doing) -> str:
    return f"{do.operator.clear(do.field('pattern')):,} cached values are removed."


_OTHER_PATTERN = ("pattern", "Another pattern, like news:GME:*")

VERBS: Mapping[str, Verb] = {
    "warm": Verb("Fetch", "tbcache enqueue {source} {symbol}", _ask_warm, _warm),
    "clear": Verb("Clear", "tbcache cache clear {pattern}", _ask_clear, _clear, other=_OTHER_PATTERN),
}
