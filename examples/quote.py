"""Quotes of an upstream that allows five requests a minute, for as many processes as you start.

    python examples/quote.py http://127.0.0.1:8080 AAPL MSFT

Started again, or at the same time in another terminal, it asks for nothing that is known already.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import httpx2

import tbcache

quotes = tbcache.source("alphavantage", limits="5/1m,500/1d", ttl=60)


@dataclass
class Quote:
    symbol: str
    price: float


@quotes.fetcher(key=lambda base_url, symbol: symbol.upper())
def quote(base_url: str, symbol: str) -> Quote:
    """Any client will do. A 429, or a 503 that names a time, closes the source for all until then."""
    answer = httpx2.get(f"{base_url}/quote", params={"symbol": symbol}, timeout=10)
    answer.raise_for_status()
    return Quote(**answer.json())


def main(base_url: str, *symbols: str) -> None:
    for symbol in symbols:
        found = quote.outcome(base_url, symbol)
        if found.value is None:
            print(symbol, type(found.error).__name__)
        else:
            print(symbol, found.value.price, found.origin)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
