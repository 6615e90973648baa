"""The items of a stream: who wrote which text and when, and whether it is original.

Every item is a pure function of its stream and its number. So pages, refreshes, restarts and the ground truth
of ``GET /_truth`` agree about it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

from tbcache.embedded.simulator import chatter, tongue
from tbcache.embedded.simulator.chatter import Person, Stance
from tbcache.embedded.simulator.mix import mix_of
from tbcache.embedded.simulator.stream import CROWD, DAY, POPULARITY, Stream

Kind = Literal["original", "retweet", "quote", "reply", "copy", "spam", "lookalike"]

PEOPLE = 4000
SPAMMERS = 25
#: An item is edited within half an hour, as X allows no later edit.
EDIT_SECONDS = 1800
LONG_AFTER = 280
#: How many symbols an item about several may name; four or five on the average.
NAMED = (3, 3, 3, 4, 4, 5, 6, 8)
NAMED_ON_AVERAGE = sum(NAMED) / len(NAMED)

_KIND, _ORIGIN, _AUTHOR, _FOREIGN, _EDITED, _REMOVED, _LONG, _BURST, _IN_BURST, _NAMES, _WORDS = range(1, 12)
_LATE, _NAMED, _WAVE = 12, 13, 14
_KINDS: tuple[Literal["retweet", "quote", "reply", "copy", "lookalike"], ...] = (
    "retweet", "quote", "reply", "copy", "lookalike",
)  # fmt: skip
# Spam comes in blocks of so many items: half of the items of such a block are by one author.
_BLOCK = 32
_LOOK_BACK = 150
_WAVE_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Post:
    """One item. Times are Unix seconds; the text is not escaped.

    ``symbols`` are those that it is about; a look-alike has none. A search finds it from ``found_at`` on.
    ``of`` is the number, in the same stream, of the item that it repeats, quotes or answers. ``first_text``
    is its text before ``edited_at``. It is removed at ``removed_at``, or never where that is None.
    """

    number: int
    at: int
    author: Person
    text: str
    kind: Kind
    of: int | None
    stance: Stance
    lang: str
    symbols: tuple[str, ...]
    first_text: str
    edited_at: int | None
    removed_at: int | None
    found_at: int


@functools.lru_cache(maxsize=20_000)
def kind(stream: Stream, k: int) -> Kind:
    """The kind of item ``k``."""
    mix = mix_of(stream.source)
    if _is_spam(stream, k, mix.spam):
        return "spam"
    draw = stream.draw(k, _KIND)
    for name in _KINDS:
        draw -= getattr(mix, name)
        if draw < 0:
            return "original" if name == "lookalike" and not chatter.has_lookalikes(stream.symbol) else name
    return "original"


@functools.lru_cache(maxsize=20_000)
def origin(stream: Stream, k: int) -> int | None:
    """The number of the recent item that item ``k`` repeats, quotes or answers; None for an original one."""
    if kind(stream, k) in ("original", "spam", "lookalike"):
        return None
    reach = min(_LOOK_BACK, int(2 * DAY / stream.spacing))
    back = k - 1 - int(reach * stream.draw(k, _ORIGIN) ** 2)
    while kind(stream, back) != "original":
        back -= 1
    return back


def repeated(stream: Stream, k: int) -> int:
    """The number of the item that item ``k`` repeats as a retweet or a copy; else ``k``."""
    of = origin(stream, k)
    return of if of is not None and kind(stream, k) in ("retweet", "copy") else k


@functools.lru_cache(maxsize=20_000)
def symbols(stream: Stream, k: int) -> tuple[str, ...]:
    """The symbols that item ``k`` is about. Popular symbols are chosen more often."""
    if kind(stream, k) == "lookalike":
        return ()
    if stream.symbol != CROWD:
        return (stream.symbol,)
    dice = stream.dice(repeated(stream, k), _NAMES)
    keyed = sorted(POPULARITY, key=lambda symbol: dice.random() ** (1 / POPULARITY[symbol]), reverse=True)
    return tuple(keyed[: dice.choice(NAMED)])


def author(stream: Stream, k: int) -> Person:
    """The author of item ``k``. A few authors post much, most post little."""
    if kind(stream, k) == "spam":
        return Person(PEOPLE + int(SPAMMERS * stream.draw(k // _BLOCK, _AUTHOR)))
    return Person(int(PEOPLE * stream.draw(k, _AUTHOR) ** 2))


def language(stream: Stream, k: int) -> str:
    k = repeated(stream, k)
    draw, share = stream.draw(k, _FOREIGN), mix_of(stream.source).foreign
    if draw >= share or stream.symbol == CROWD or kind(stream, k) in ("spam", "lookalike"):
        return "en"
    return tongue.LANGUAGES[int(draw / share * len(tongue.LANGUAGES))]


def edited_at(stream: Stream, k: int) -> int | None:
    """When item ``k`` is edited, which is always before the next item of its stream; None where it is not."""
    if kind(stream, k) != "original" or stream.draw(k, _EDITED) >= mix_of(stream.source).edited:
        return None
    room = stream.at(k + 1) - stream.at(k)
    return stream.at(k) + min(EDIT_SECONDS, room // 2) if room >= 4 else None


def removed_at(stream: Stream, k: int) -> int | None:
    """When item ``k`` is removed; None where it is not.

    Mostly that is within minutes, and always within six hours and half a minute. A retweet is removed with
    its original.
    """
    draw, share = stream.draw(k, _REMOVED), mix_of(stream.source).removed
    own = None if draw >= share else stream.at(k) + 30 + int(21_600 * (draw / share) ** 3)
    of = origin(stream, k)
    if own is not None or of is None or kind(stream, k) != "retweet":
        return own
    return removed_at(stream, of)


def found_at(stream: Stream, k: int) -> int:
    """From when on a search finds item ``k`` (Unix seconds): some items are late."""
    mix, draw = mix_of(stream.source), stream.draw(k, _LATE)
    if draw >= mix.late:
        return stream.at(k)
    return stream.at(k) + math.ceil(mix.late_seconds * draw / mix.late)


def is_gone(stream: Stream, k: int, now: float) -> bool:
    """True once item ``k`` is removed."""
    removed = removed_at(stream, k)
    return removed is not None and removed <= now


def is_there(stream: Stream, k: int, now: float) -> bool:
    """Whether a search at ``now`` finds item ``k``: it is not late any more, and not removed."""
    return found_at(stream, k) <= now and not is_gone(stream, k, now)


@functools.lru_cache(maxsize=20_000)
def write(stream: Stream, k: int) -> Post:
    """Everything about item ``k``."""
    source = repeated(stream, k)
    changed = edited_at(stream, k)
    view = stance(stream, source)
    text = _text(stream, k, view)
    return Post(
        number=k,
        at=stream.at(k),
        author=author(stream, k),
        text=text,
        kind=kind(stream, k),
        of=origin(stream, k),
        stance=view,
        lang=language(stream, k),
        symbols=symbols(stream, k),
        first_text=text if changed is None else f"{text.rstrip('.!')}. More in a minute",
        edited_at=changed,
        removed_at=removed_at(stream, k),
        found_at=found_at(stream, k),
    )


@functools.lru_cache(maxsize=20_000)
def stance(stream: Stream, k: int) -> Stance:
    """The stance of item ``k``. That of an advertisement is always bullish."""
    match kind(stream, k):
        case "spam":
            return "bullish"
        case "lookalike":
            return "neutral"
    return chatter.stance(stream.dice(k), chatter.view(author(stream, k), stream, stream.at(k)))


def _text(stream: Stream, k: int, view: Stance) -> str:
    of = origin(stream, k)
    if of is None:
        return _own_words(stream, k, view)
    match kind(stream, k):
        case "retweet":
            return f"RT @{author(stream, of).username}: {_own_words(stream, of, view)}"
        case "copy":
            return _own_words(stream, of, view)
        case "reply":
            return f"@{author(stream, of).username} {_own_words(stream, k, view)}"
        case _:
            return f"{_own_words(stream, k, view)} https://t.co/q{of % 10**9:09d}"


def _own_words(stream: Stream, k: int, view: Stance) -> str:
    dice = stream.dice(k, _WORDS)
    named = symbols(stream, k)
    if kind(stream, k) == "spam":
        return chatter.spam(dice, author(stream, k), named)
    if kind(stream, k) == "lookalike":
        return chatter.lookalike(dice, stream.symbol)
    if stream.symbol == CROWD:
        return chatter.of_several(dice, view, named, author(stream, k))
    if (other := language(stream, k)) != "en":
        return tongue.post(dice, other, view, stream.symbol)
    price = chatter.price(stream, stream.at(k))
    text = chatter.post(dice, view, _called(stream, k), price, author(stream, k))
    if stream.draw(k, _LONG) >= mix_of(stream.source).long:
        return text
    return " ".join((text, *(chatter.body(dice, view, stream.symbol, price) for _ in range(4))))


def _called(stream: Stream, k: int) -> str:
    """How item ``k`` writes its symbol: with a ``$``, except for half of the items on reddit."""
    is_bare = stream.source.startswith("reddit") and stream.draw(k, _NAMED) < 0.5
    return stream.symbol if is_bare else f"${stream.symbol}"


def _is_spam(stream: Stream, k: int, share: float) -> bool:
    """Whether item ``k`` advertises: it does in blocks by one author, and more often in bursts."""
    if share and stream.is_in_burst(k) and stream.draw(k, _WAVE) < _WAVE_SHARE:
        return True
    return stream.draw(k // _BLOCK, _BURST) < 2 * share and stream.draw(k, _IN_BURST) < 0.5
