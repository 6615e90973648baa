"""`@cached`: what a function of yours returns, once for all processes.

    python examples/cached.py AAPL MSFT AAPL

Started again within a minute it computes nothing.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tbcache import cached


@dataclass(frozen=True)
class Company:
    symbol: str
    name: str


@cached(ttl=60, key_prefix="company")
def company(symbol: str) -> Company:
    """As slow as it likes: while it runs, whoever else wants the same waits for this one."""
    print("computing", symbol)
    return Company(symbol, f"{symbol.capitalize()} Inc.")


def main(*symbols: str) -> None:
    for symbol in symbols:
        print(company(symbol).name)
    if symbols:
        company.invalidate(symbols[0])  # the next call of anyone computes it


if __name__ == "__main__":
    main(*sys.argv[1:])
