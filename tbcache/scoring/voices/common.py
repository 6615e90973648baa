"""The rules that count where nothing else is said, each a pure function of the voices of one answer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence

from tbcache.models import Item
from tbcache.models.language import spoken
from tbcache.scoring.target import tickers
from tbcache.scoring.voices.language import NONE, is_english
from tbcache.scoring.voices.repetition import person
from tbcache.scoring.voices.rule import Shares, Voice
from tbcache.scoring.voices.sketch import words_of

#: The texts that a reader is shown in the place of an item that was taken away.
_TOMBSTONES = frozenset(("[removed]", "[deleted]", "[removed by moderator]", "[deleted by user]"))
#: Robots and moderators, who open threads and have no opinion.
_ROBOTS = frozenset(("automoderator", "visualmod", "remindmebot", "wsbvotebot"))
#: So many followers count as one like: about one in a thousand who may read a post likes it.
_FOLLOWERS_A_LIKE = 1000


def without_gone(voices: Sequence[Voice]) -> list[float]:
    """What was deleted or removed does not count."""
    return [
        float(not voice.item.is_gone and voice.item.text.strip().lower() not in _TOMBSTONES)
        for voice in voices
    ]


def without_notices(voices: Sequence[Voice]) -> list[float]:
    """What a robot or a moderator put up for others to write below does not count."""
    return [
        float(voice.item.kind != "notice" and _author(voice.item).lower() not in _ROBOTS) for voice in voices
    ]


def without_legs(voices: Sequence[Voice]) -> list[float]:
    """One leg of a larger trade does not count: a call sold against another is no bet on a fall."""
    return [float(not voice.item.is_multi_leg) for voice in voices]


def in_languages(languages: Collection[str]) -> Shares:
    """Texts in other languages do not count, unless their authors or figures say what they are.

    ``languages`` are codes like ``en``. Where an upstream names no language, English is told from the rest by
    the words, and counts if it is among them.
    """
    wanted = frozenset(spoken(languages))

    def shares(voices: Sequence[Voice]) -> list[float]:
        return [float(voice.says_itself or _is_in(voice.item, wanted)) for voice in voices]

    return shares


def without_reposts(voices: Sequence[Voice]) -> list[float]:
    """A repost does not count beside what it repeats; of several of what is not here, the first counts."""
    known = {voice.item.identity for voice in voices} | {voice.item.id for voice in voices}
    left = []
    for voice in voices:
        if voice.item.kind != "repost":
            left.append(1.0)
            continue
        origin = voice.item.origin or " ".join(words_of(voice.item.text))
        left.append(float(origin not in known))
        known.add(origin)
    return left


def at_most(times: int) -> Shares:
    """An author counts as ``times`` items at most, each of theirs with the same share of it.

    Authors that are not known, and the bylines of articles, are not counted together.
    """
    if times < 1:
        raise ValueError(f"an author counts at least once, and not {times} times")

    def shares(voices: Sequence[Voice]) -> list[float]:
        weights = defaultdict[str, float](float)
        for voice in voices:
            weights[person(voice.item)] += voice.share
        return [min(1.0, times / weights[name]) if (name := person(voice.item)) else 1.0 for voice in voices]

    return shares


#: Of recorded Stocktwits messages 27% name three to five tickers, and 3% more. Whoever compares a few means
#: what he says for each of them; a longer list is for being found.
_NAMED = 5


def by_tickers(voices: Sequence[Voice]) -> list[float]:
    """An item that names more than five tickers counts in part: of ten, half."""
    return [_NAMED / max(_NAMED, len(_tickers(voice.item))) for voice in voices]


def by_engagement(voices: Sequence[Voice]) -> list[float]:
    """An item counts the more, the more others did with it and may have read it, by the logarithm."""
    return [1.0 + math.log1p(max(0, _reactions(voice.item))) for voice in voices]


def _reactions(item: Item) -> float:
    done = item.engagement
    reactions = (done.likes or 0) + 2 * (done.reposts or 0) + (done.replies or 0)
    return reactions + (done.followers or 0) / _FOLLOWERS_A_LIKE


def _tickers(item: Item) -> frozenset[str]:
    return frozenset(item.symbols) or tickers(item.text)


def _author(item: Item) -> str:
    return item.author or ""


def _is_in(item: Item, wanted: frozenset[str]) -> bool:
    stated = (item.lang or "").lower().split("-")[0]
    if stated and stated not in NONE:
        return stated in wanted
    english = is_english(item.text)
    return english is None or english == ("en" in wanted) or len(wanted) > 1
