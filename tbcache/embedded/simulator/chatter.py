"""Trading chatter: the people who post about a symbol, and the texts that they post."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tbcache.embedded.simulator import wording
from tbcache.embedded.simulator.stream import DAY, Stream, mixed

Stance = Literal["bullish", "bearish", "neutral"]

_SPAM = (
    "🔥🔥 Our {list} alert is up 300%! Join 40,000 winners for free: chat.example/{n}",
    "I made $9,{n} on {list} this week thanks to my mentor, best signals, message her now 🚀",
    "{list} to the moon guaranteed! Free room with daily winners, link in bio 🚀🚀 #{n}",
)
#: One post in so many ends with one of its author's pet phrases.
_HABIT = 3
_FIRST = (
    "gamma", "theta", "delta", "tape", "chart", "candle", "margin", "dip", "value", "swing",
    "option", "pivot", "ticker", "alpha", "yield", "macro", "bull", "bear", "sigma", "vega",
)  # fmt: skip
_SECOND = (
    "reader", "hunter", "captain", "wizard", "pilot", "monk", "rider", "farmer", "smith", "owl",
    "fox", "miner", "sailor", "baker", "nerd", "coach", "goat", "desk", "lab", "queen",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """An author; the same number is always the same person."""

    number: int

    @property
    def username(self) -> str:
        first, second = _FIRST[self.number % 20], _SECOND[self.number // 20 % 20]
        return f"{first}_{second}{self.number // 400 or ''}"

    @property
    def name(self) -> str:
        return f"{_FIRST[self.number % 20]} {_SECOND[self.number // 20 % 20]}".title()


def named(username: str) -> Person | None:
    """The person with ``username``; None where nobody has it."""
    words, _, number = username.rpartition("_")
    digits = len(number) - len(number.rstrip("0123456789"))
    first, second = words, number[: len(number) - digits]
    if first not in _FIRST or second not in _SECOND:
        return None
    person = Person(int(number[len(second) :] or 0) * 400 + _SECOND.index(second) * 20 + _FIRST.index(first))
    return person if person.username == username else None


def stance(dice: random.Random, mood: float) -> Stance:
    """A random stance. It is bullish the more often, the better the ``mood`` (-1..1)."""
    draw = dice.random()
    bullish = 0.34 + 0.28 * mood
    bearish = 0.28 - 0.24 * mood
    return "bullish" if draw < bullish else "bearish" if draw < bullish + bearish else "neutral"


def view(person: Person, stream: Stream, moment: float) -> float:
    """The mood of ``person`` about the symbol at ``moment``, -1 (bearish) .. 1 (bullish).

    It is the mood of the crowd, plus a personal leaning that changes within weeks.
    """
    own = mixed(stream.mood_salt ^ person.number)
    phase, days = own % 1000 / 1000 * math.tau, 15 + (own >> 10) % 45
    leaning = 0.6 * math.sin(moment / DAY / days * math.tau + phase)
    return max(-1.0, min(1.0, stream.mood(moment) + leaning))


def price(stream: Stream, moment: float) -> float:
    """The price of a share at ``moment`` in US dollars, which follows the mood."""
    base = 15 + stream.mood_salt % 48_500 / 100
    return base * (1 + 0.06 * stream.mood(moment))


def post(dice: random.Random, view: Stance, symbol: str, at_price: float, author: Person) -> str:
    """A short message about ``symbol``, in the words of its author."""
    return _ended(dice, _fill(wording.pick(dice, f"post.{view}"), dice, symbol, at_price), author)


def body(dice: random.Random, view: Stance, symbol: str, at_price: float) -> str:
    """A longer paragraph about ``symbol``."""
    return _fill(wording.pick(dice, f"body.{view}"), dice, symbol, at_price)


def of_several(dice: random.Random, view: Stance, symbols: Sequence[str], author: Person) -> str:
    """A short message with several cashtags."""
    text = wording.pick(dice, f"several.{view}").format(list=_cashtags(symbols))
    return _ended(dice, text, author)


def _ended(dice: random.Random, text: str, author: Person) -> str:
    """``text``, sometimes followed by one of its author's two pet phrases."""
    if dice.randrange(_HABIT):
        return text
    habits = wording.known("habit")
    habit = habits[(author.number * (7 + 4 * dice.randrange(2))) % len(habits)]
    return f"{text}{'' if text[-1] in '?!' else '.'} {habit.capitalize()}"


def spam(dice: random.Random, author: Person, symbols: Sequence[str]) -> str:
    """An advertisement. Those of one author are nearly equal."""
    template = _SPAM[author.number % len(_SPAM)]
    return template.format(list=_cashtags(symbols), n=100 + dice.randrange(9))


def lookalike(dice: random.Random, symbol: str) -> str:
    """A text with a word that is spelled like ``symbol`` or its company, but means something else."""
    return wording.pick(dice, f"lookalike.{symbol}")


def has_lookalikes(symbol: str) -> bool:
    return bool(wording.known(f"lookalike.{symbol}"))


def _cashtags(symbols: Sequence[str]) -> str:
    return " ".join(f"${symbol}" for symbol in symbols)


def _fill(template: str, dice: random.Random, symbol: str, at_price: float) -> str:
    up = at_price * (1.03 + 0.12 * dice.random())
    down = at_price * (0.97 - 0.12 * dice.random())
    return template.replace("{s}", symbol).format(
        up=f"{up:.0f}", down=f"{down:.0f}", price=f"{at_price:.2f}", pct=f"{1 + 8 * dice.random():.1f}"
    )
