"""What a stream is made of: which share of the items is what, by source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of all items. What is left of the kinds are words of the author's own.

    The first six are kinds, of which an item is one; the others can come together.
    """

    #: Repeats another's post, under its own id.
    retweet: float = 0.0
    #: Adds words to another's post.
    quote: float = 0.0
    #: Answers another's post.
    reply: float = 0.0
    #: Says in another's name what somebody had said, word for word, as a wire story does on a second site.
    copy: float = 0.0
    #: Advertises; a handful of authors in bursts.
    spam: float = 0.0
    #: Is spelled like the symbol and speaks of something else; of symbols of which there are such texts.
    lookalike: float = 0.0
    #: Names several symbols, and stands in the stream of each.
    crowd: float = 0.0
    #: Written in another language than English.
    foreign: float = 0.0
    #: Changed by its author soon after.
    edited: float = 0.0
    #: Taken down again, within minutes or hours.
    removed: float = 0.0
    #: Found some time after it was posted only.
    late: float = 0.0
    #: After so many seconds at most.
    late_seconds: float = 30.0
    #: On days with news, so many times as much is said for an hour.
    burst: float = 1.0
    #: Longer than a post's text shows at first.
    long: float = 0.0


#: Retweets, languages and posts of several symbols are as in recorded answers, the rest is plausible.
#: Options are trades and no words.
MIXES: Mapping[str, Mix] = {
    "twitter": Mix(
        retweet=0.57, quote=0.05, reply=0.06, copy=0.04, spam=0.05,
        crowd=0.15, foreign=0.19, edited=0.03, removed=0.03, long=0.03, lookalike=0.03,
        burst=6.0, late=0.02, late_seconds=25.0,
    ),
    "reddit": Mix(
        copy=0.03, spam=0.03, crowd=0.12, foreign=0.02, edited=0.06, removed=0.06, lookalike=0.25,
        burst=6.0, late=0.03, late_seconds=50.0,
    ),
    "reddit-comments": Mix(reply=0.2, copy=0.02, spam=0.02, foreign=0.02, edited=0.03, removed=0.06),
    "news": Mix(
        copy=0.25, crowd=0.10, foreign=0.10, removed=0.03, lookalike=0.2,
        burst=4.0, late=0.1, late_seconds=3000.0,
    ),
    "stocktwits": Mix(
        reply=0.15, copy=0.04, spam=0.06, crowd=0.38, foreign=0.02, removed=0.02,
        burst=6.0, late=0.01, late_seconds=40.0,
    ),
}  # fmt: skip


def mix_of(source: str) -> Mix:
    """The mix of ``source``; that of one without words has only plain items."""
    return MIXES.get(source, _PLAIN)


_PLAIN = Mix()
