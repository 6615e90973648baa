"""News: headlines in wordings of our own, from outlets that do not exist."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tbcache.embedded.simulator import tongue
from tbcache.embedded.simulator.chatter import Stance


@dataclass(frozen=True, slots=True)
class Outlet:
    """``id`` is None for the many outlets that the API lists without one."""

    id: str | None
    name: str
    domain: str


OUTLETS = (
    Outlet("ledger-wire", "Ledger Wire", "ledgerwire.example"),
    Outlet("the-closing-bell", "The Closing Bell", "closingbell.example"),
    Outlet(None, "Tape & Ticker", "tapeandticker.example"),
    Outlet(None, "Harbor Street Journal", "harborstreet.example"),
    Outlet("market-almanac", "Market Almanac", "marketalmanac.example"),
    Outlet(None, "Chip & Circuit", "chipcircuit.example"),
)
_HEADLINES: dict[Stance, tuple[str, ...]] = {
    "bullish": (
        "{s} shares surge after record quarter beats estimates",
        "{s} raises full-year outlook as demand stays strong",
        "Analysts upgrade {s}, citing improving margins",
        "{s} climbs to a new high on upbeat guidance",
        "{s} wins major contract; stock gains {pct}%",
        "Why investors are optimistic about {s} this year",
    ),
    "bearish": (
        "{s} shares plunge as profit warning shocks investors",
        "{s} misses expectations, cuts forecast",
        "Regulator opens probe into {s}; stock falls {pct}%",
        "{s} downgraded on weak demand & rising costs",
        "Lawsuit adds to losses at {s}",
        "{s} slides for a third day as fears of slowdown grow",
    ),
    "neutral": (
        "{s} to report quarterly results next week",
        "What to watch when {s} meets investors",
        "{s} names new head of operations",
        "Five questions for {s} before its annual meeting",
        "{s} schedules product event for the autumn",
    ),
}
_LEADS: dict[Stance, str] = {
    "bullish": "Shares of {s} rose in heavy trading after the company delivered better numbers than feared.",
    "bearish": "Shares of {s} dropped in heavy trading after the company delivered worse numbers than hoped.",
    "neutral": "{s} said on the day that it would give further details at a later date.",
}
_NAMES = ("A. Whitlock", "Dana Reyes", "J. Okafor", "Mira Lindqvist", "Sam Petrov", "The newsroom")


def headline(dice: random.Random, view: Stance, symbols: Sequence[str], language: str) -> str:
    if language != "en":
        return tongue.post(dice, language, view, symbols[0]).replace("$", "")
    named = symbols[0] if len(symbols) == 1 else f"{', '.join(symbols[:-1])} and {symbols[-1]}"
    return dice.choice(_HEADLINES[view]).format(s=named, pct=f"{1 + 9 * dice.random():.1f}")


def lead(view: Stance, symbol: str) -> str:
    return _LEADS[view].format(s=symbol)


def byline(dice: random.Random) -> str | None:
    """The author; one article in five has none."""
    return None if dice.random() < 0.2 else dice.choice(_NAMES)


def outlet(dice: random.Random) -> Outlet:
    return dice.choice(OUTLETS)
