"""The composition of a stream: which fraction of its items is of which kind, by source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mix:
    """Fractions of all items.

    The first six are kinds, of which an item has at most one; an item without a kind is in its author's own
    words. The other properties can be combined.
    """

    #: The item repeats another post, under an id of its own.
    retweet: float = 0.0
    #: The item adds words to another post.
    quote: float = 0.0
    #: The item answers another post.
    reply: float = 0.0
    #: The item repeats another word for word under another author, as a wire story on a second site.
    copy: float = 0.0
    #: The item advertises. A few authors do so, in bursts.
    spam: float = 0.0
    #: The item has a word that is spelled like the symbol, but means something else. Not every symbol has
    #: any.
    lookalike: float = 0.0
    #: The item names several symbols, and is in the stream of each.
    crowd: float = 0.0
    #: The item is not in English.
    foreign: float = 0.0
    #: The author edits the item soon afterwards.
    edited: float = 0.0
    #: The item is removed within minutes or hours.
    removed: float = 0.0
    #: A search finds the item only some time after it was posted.
    late: float = 0.0
    #: The most seconds until a search finds a late item.
    late_seconds: float = 30.0
    #: In the hour of news on some days, there are so many times as many items as in other hours.
    burst: float = 1.0
    #: The item is longer than the text that a post shows at first.
    long: float = 0.0


#: The fractions of retweets, languages and posts about several symbols are those of recorded answers; the
#: others are plausible guesses. Options have no entry, as trades have no words.
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
    """The mix of ``source``. A source that is not in MIXES has plain items only."""
    return MIXES.get(source, _PLAIN)


_PLAIN = Mix()
