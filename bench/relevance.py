"""How well an answer tells what speaks of a symbol from what is spelled alike.

    python -m bench.relevance [--days N]

What does are the English texts that the simulator's news and reddit post of five symbols; what does not are
texts of our own that a keyword search finds as well (``bench/data/lookalikes.tsv``), written before one was
tried.
Prints precision and recall, each symbol's look-alikes weighing as much as its texts.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from bench.answers import BEGIN, PER_DAY, SEED
from tbcache.embedded.simulator import post
from tbcache.embedded.simulator.headline import headline
from tbcache.embedded.simulator.stream import DAY, open_stream
from tbcache.models.names import named

LOOKALIKES = Path(__file__).parent / "data" / "lookalikes.tsv"
SYMBOLS = ("AAPL", "AMZN", "META", "SPY", "TSLA")


def main(days: int) -> None:
    precision, recall = measure(days)
    print(f"precision {precision:.3f} at recall {recall:.3f}")


def measure(days: int) -> tuple[float, float]:
    others = lookalikes()
    right = wrong = recalled = 0.0
    for symbol in SYMBOLS:
        texts = posted(symbol, days)
        known = named(symbol)
        share = sum(map(known.is_meant, texts)) / len(texts)
        false = sum(map(known.is_meant, others[symbol])) / len(others[symbol])
        right, wrong, recalled = right + share, wrong + false, recalled + share
    return right / (right + wrong), recalled / len(SYMBOLS)


def posted(symbol: str, days: int) -> list[str]:
    """What is posted of ``symbol`` in English, headlines and posts."""
    texts = []
    for source in ("news", "reddit"):
        stream = open_stream(SEED, source, symbol, PER_DAY[source])
        for k in stream.between(BEGIN, BEGIN + days * DAY):
            written = post.write(stream, k)
            if written.lang == "en":
                is_news = source == "news"
                texts.append(
                    headline(stream.dice(k), written.stance, (symbol,), "en") if is_news else written.text
                )
    return texts


def lookalikes() -> dict[str, list[str]]:
    found = defaultdict(list)
    for line in LOOKALIKES.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            symbol, text = line.split("\t")
            found[symbol].append(text)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=3)
    main(parser.parse_args().days)
