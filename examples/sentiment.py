"""A bot that looks at what people write before it trades.

    python examples/sentiment.py stocktwits AAPL GME

It needs no worker: what it asks for is fetched here, inside the limits of the fleet, unless it is cached.
In the folder of a running `tbcache up --demo` it asks the simulator.
"""

from __future__ import annotations

import sys

from tbcache import Outcome, RateLimited, UpstreamError, get_provider

HOURS = 6
#: Of how much of that time the score must be true, and of how many posts that count (copies and
#: advertisements do not), before it is worth a trade.
LEAST_HOURS, LEAST_VOICES = 0.5, 10


def decide(outcome: Outcome) -> str:
    """What the bot does: an old answer, or one of few posts, moves no money."""
    sentiment = outcome.sentiment
    # An answer that an earlier version has written does not say how many voices it has.
    is_thin = outcome.covered_hours < LEAST_HOURS or (sentiment.voices or 0) < LEAST_VOICES
    if outcome.origin == "stale" or is_thin or sentiment.score is None:
        return "wait"
    return "buy" if sentiment.score > 0.2 else "sell" if sentiment.score < -0.2 else "hold"


def main(source: str, *symbols: str) -> None:
    provider = get_provider(source)
    for symbol in symbols:
        try:
            outcome = provider.fetch(symbol, hours=HOURS, patience=20.0)
        except RateLimited as error:  # no slot within `patience` seconds
            print(symbol, "again at", error.retry_at)
        except UpstreamError as error:  # a refusal, and nothing older is kept
            print(symbol, "refused:", error.kind)
        else:
            posts, covered = outcome.sentiment.count, f"{outcome.covered_hours:.1f}/{HOURS} h"
            print(symbol, decide(outcome), f"{posts} posts, {covered}, {outcome.origin}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
