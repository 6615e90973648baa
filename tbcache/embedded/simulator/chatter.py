"""Trading chatter: what people post about a symbol, and who they are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tbcache.embedded.simulator.stream import Stream

Stance = Literal["bullish", "bearish", "neutral"]

_BULLISH = (
    "${s} breaking out, volume is huge. Next stop {up} 🚀",
    "Loaded more ${s} calls on this dip, easy money",
    "${s} looks strong here. Buyers stepping in at every pullback",
    "Love how ${s} holds {price}. Great setup for a rally 📈",
    "${s} beat on revenue & raised guidance. Bulls win again",
    "Another upgrade for ${s}, target {up}. Still undervalued imo",
    "${s} to the moon!! 🚀🚀 diamond hands",
    "Margins > 40% & growing. ${s} is the best company in the sector",
    "Shorts in ${s} are about to get squeezed 🔥",
    "Added to my ${s} position, the trend is my friend",
    "${s} reclaimed the 50 day, that's bullish. P/E < peers too",
    "Institutions keep accumulating ${s}. Happy holder here 💎",
    "Nice gains on ${s} today, up {pct}% and not selling",
    "${s} showing relative strength while the S&P is red. Impressive",
)
_BEARISH = (
    "${s} rolling over, this chart is ugly. {down} next",
    "Bought ${s} puts this morning, momentum is dead",
    "${s} missed on revenue & cut guidance. Terrible quarter",
    "Insiders dumping ${s} again, big red flag 🚩",
    "${s} is way overvalued, P/E > 60 & slowing growth. Sell",
    "Support at {price} broken. ${s} bears in control 📉",
    "Stopped out of ${s} for a loss, weak tape",
    "Downgrade on ${s} this morning, target cut to {down}",
    "Bagholders in ${s} keep hoping. This crash isn't over 🐻",
    "${s} down {pct}% & nobody is buying the dip. Scary",
    "Dilution again at ${s}? Awful management, avoid",
    "${s} can't hold a bounce, worst name on my list 💀",
    "Short ${s} here, stop above {up}",
    "The lawsuit is a real risk for ${s}, I'm out",
)
_NEUTRAL = (
    "${s} earnings are on Thursday, what is everyone expecting?",
    "Watching ${s} around {price}, no position yet 👀",
    "Anyone know when the ${s} call starts?",
    "${s} trading flat before the Fed. Waiting",
    "What strike are you looking at for ${s}? {up} or {down}?",
    "${s} opened at {price} & has gone sideways since",
    "New 10-Q from ${s} is out, reading it tonight",
    "${s} between {down} and {up} for weeks now",
    "Does ${s} pay a dividend this month?",
    "Chart of ${s} on the weekly time frame, thoughts?",
)
_BODIES = {
    "bullish": (
        "Did the math over the weekend: cash flow covers the buyback & then some. I like the stock.",
        "Been holding since {down}. Strong product cycle, great margins, more upside to come.",
        "The market is sleeping on this one. Catalysts lined up into next quarter. Long & happy.",
    ),
    "bearish": (
        "Inventory is up, growth is down, and the valuation makes no sense. I expect a painful drop.",
        "Sold everything. Weak guidance, terrible macro, & competition is eating their lunch.",
        "Puts for me. I see a bad quarter & a slide to {down} at least.",
    ),
    "neutral": (
        "Looking for opinions on the next quarter. Links to filings in the comments.",
        "Posting the numbers so that we have them in one place. Price was {price} at the close.",
        "Not advice. Just collecting views from both sides.",
    ),
}
_OF_SEVERAL: dict[Stance, tuple[str, ...]] = {
    "bullish": (
        "Strong names on my list today: {list}",
        "{list} all holding their breakouts, great tape 📈",
        "Added to {list}. Love this market",
    ),
    "bearish": (
        "{list} rolling over together, this is ugly",
        "Out of {list}. Weak market, more losses to come 📉",
        "Puts on {list}, momentum is dead",
    ),
    "neutral": (
        "Watchlist for tomorrow: {list}",
        "Most active so far: {list}",
        "Which one of {list} would you look at?",
    ),
}
_SPAM = (
    "🔥🔥 Our {list} alert is up 300%! Join 40,000 winners for free: chat.example/{n}",
    "I made $9,{n} on {list} this week thanks to my mentor, best signals, message her now 🚀",
    "{list} to the moon guaranteed! Free room with daily winners, link in bio 🚀🚀 #{n}",
)
_TEXTS: dict[Stance, tuple[str, ...]] = {"bullish": _BULLISH, "bearish": _BEARISH, "neutral": _NEUTRAL}
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
    """A poster; the same number is always the same person."""

    number: int

    @property
    def username(self) -> str:
        first, second = _FIRST[self.number % 20], _SECOND[self.number // 20 % 20]
        return f"{first}_{second}{self.number // 400 or ''}"

    @property
    def name(self) -> str:
        return f"{_FIRST[self.number % 20]} {_SECOND[self.number // 20 % 20]}".title()


def named(username: str) -> Person | None:
    """Who is called ``username``; None for nobody."""
    words, _, number = username.rpartition("_")
    digits = len(number) - len(number.rstrip("0123456789"))
    first, second = words, number[: len(number) - digits]
    if first not in _FIRST or second not in _SECOND:
        return None
    person = Person(int(number[len(second) :] or 0) * 400 + _SECOND.index(second) * 20 + _FIRST.index(first))
    return person if person.username == username else None


def stance(dice: random.Random, mood: float) -> Stance:
    """Draw one; the better the mood, the likelier a bullish one."""
    draw = dice.random()
    bullish = 0.34 + 0.28 * mood
    bearish = 0.28 - 0.24 * mood
    return "bullish" if draw < bullish else "bearish" if draw < bullish + bearish else "neutral"


def price(stream: Stream, moment: float) -> float:
    """What a share costs at ``moment``, in US dollars; it follows the mood."""
    base = 15 + stream.mood_salt % 48_500 / 100
    return base * (1 + 0.06 * stream.mood(moment))


def post(dice: random.Random, view: Stance, symbol: str, at_price: float) -> str:
    """A short message with its cashtag."""
    return _fill(dice.choice(_TEXTS[view]), dice, symbol, at_price)


def body(dice: random.Random, view: Stance, symbol: str, at_price: float) -> str:
    """A paragraph of reasons, or of none."""
    return _fill(dice.choice(_BODIES[view]), dice, symbol, at_price)


def of_several(dice: random.Random, view: Stance, symbols: Sequence[str]) -> str:
    """A short message with several cashtags."""
    return dice.choice(_OF_SEVERAL[view]).format(list=_cashtags(symbols))


def spam(dice: random.Random, author: Person, symbols: Sequence[str]) -> str:
    """An advertisement; one author's read nearly the same."""
    template = _SPAM[author.number % len(_SPAM)]
    return template.format(list=_cashtags(symbols), n=100 + dice.randrange(9))


def _cashtags(symbols: Sequence[str]) -> str:
    return " ".join(f"${symbol}" for symbol in symbols)


def _fill(template: str, dice: random.Random, symbol: str, at_price: float) -> str:
    up = at_price * (1.03 + 0.12 * dice.random())
    down = at_price * (0.97 - 0.12 * dice.random())
    return template.replace("{s}", symbol).format(
        up=f"{up:.0f}", down=f"{down:.0f}", price=f"{at_price:.2f}", pct=f"{1 + 8 * dice.random():.1f}"
    )
