"""News: headlines in wordings of our own, from outlets that do not exist."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tbcache.embedded.simulator import tongue
from tbcache.embedded.simulator.chatter import Stance
from tbcache.embedded.simulator.wording import pick


@dataclass(frozen=True, slots=True)
class Outlet:
    """A news site. ``id`` is None for the many sites that the API lists without one."""

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
#: The names that newspapers use for companies.
_COMPANIES = {
    "AAPL": "Apple", "AMZN": "Amazon", "CAT": "Caterpillar", "F": "Ford", "GOOGL": "Alphabet",
    "IT": "Gartner", "META": "Meta", "MSFT": "Microsoft", "NOW": "ServiceNow", "NVDA": "Nvidia",
    "ON": "ON Semiconductor", "ALL": "Allstate", "TSLA": "Tesla", "GME": "GameStop", "SPY": "S&P 500 ETF SPY",
}  # fmt: skip
_LEADS: dict[Stance, str] = {
    "bullish": "Shares of {s} rose in heavy trading after the company delivered better numbers than feared.",
    "bearish": "Shares of {s} dropped in heavy trading after the company delivered worse numbers than hoped.",
    "neutral": "{s} said on the day that it would give further details at a later date.",
}
#: The two names and the business of a house that is quoted, one of 2,208: two sites that report on their own
#: rarely write the same headline, and what is the same is a copy.
_HOUSES = (
    "Abernathy", "Brandt", "Calloway", "Dorsey", "Ekström", "Fairweather", "Grosvenor", "Hollis", "Ibarra",
    "Jansen", "Kestrel", "Lindqvist", "Marlowe", "Northcote", "Osborne", "Pemberton", "Quill", "Rasmussen",
    "Sinclair", "Thornbury", "Underhill", "Vasquez", "Winslow", "Yardley",
)  # fmt: skip
_BUSINESSES = ("Research", "Securities", "Partners", "Asset Management")
_NAMES = ("A. Whitlock", "Dana Reyes", "J. Okafor", "Mira Lindqvist", "Sam Petrov", "The newsroom")


def headline(dice: random.Random, view: Stance, symbols: Sequence[str], language: str) -> str:
    """A headline about ``symbols``, by their tickers or, more often, by the names of the companies, and the
    house that it quotes.
    """
    if language != "en":
        return tongue.post(dice, language, view, symbols[0]).replace("$", "")
    named = f"{', '.join(symbols[:-1])} and {symbols[-1]}" if len(symbols) > 1 else _called(dice, symbols[0])
    title = pick(dice, f"headline.{view}").format(s=named, pct=f"{1 + 9 * dice.random():.1f}")
    return f"{title}: {' '.join(dice.sample(_HOUSES, 2))} {dice.choice(_BUSINESSES)}"


def lead(view: Stance, symbol: str) -> str:
    return _LEADS[view].format(s=_COMPANIES.get(symbol, symbol))


def _called(dice: random.Random, symbol: str) -> str:
    name, draw = _COMPANIES.get(symbol), dice.random()
    if name is None or draw < 0.25:
        return symbol
    return name if draw < 0.75 else f"{name} ({symbol})"


def byline(dice: random.Random) -> str | None:
    """The author; one article in five has none."""
    return None if dice.random() < 0.2 else dice.choice(_NAMES)


def outlet(dice: random.Random) -> Outlet:
    return dice.choice(OUTLETS)
