"""Leave the fetching to the workers, and look at the results as they come.

    tbcache worker &
    python examples/enqueue.py reddit GME AMC NVDA

The same fetch is queued once, whoever asks for it. Jobs wait for their slot in Redis, and hold no thread.
"""

from __future__ import annotations

import sys

from tbcache import FetchRequest, RateLimited, ResultTimeout, UpstreamError, enqueue_many


def main(source: str, *symbols: str) -> None:
    handles = enqueue_many([FetchRequest(source, symbol) for symbol in symbols])
    for symbol, handle in zip(symbols, handles, strict=True):
        try:
            outcome = handle.result(timeout=60)
        except ResultTimeout:
            print(symbol, "is queued still:", handle.explain())
        except (RateLimited, UpstreamError) as error:
            print(symbol, type(error).__name__)
        else:
            print(symbol, f"{outcome.sentiment.count} posts")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
