"""How well an answer tells what speaks of a symbol from what is spelled alike.

    python -m bench.relevance [--days N]

Asks the simulated news and reddit, as our providers ask them, for symbols that are words or whose company is
called by one, and compares what the rule ``relevance`` keeps with what the simulator says each item speaks
of. Prints precision and recall by source and symbol, beside the precision of the search alone. Recall is of
all English texts about the symbol that are there, also of those that the search does not find. Then the same
on rows of our own (``bench/data/lookalikes.tsv``), written before one was tried.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from bench.voice import BEGIN
from bench.world import World
from tbcache.embedded.simulator import post
from tbcache.embedded.simulator.stream import DAY, Stream
from tbcache.models import Item
from tbcache.models.names import named
from tbcache.scoring import VOICES
from tbcache.scoring.voices import weigh

LOOKALIKES = Path(__file__).parent / "data" / "lookalikes.tsv"
SYMBOLS = ("AAPL", "ALL", "AMZN", "CAT", "F", "IT", "META", "NOW", "ON", "SPY", "TSLA")
SOURCES = ("news", "reddit")
RULE = tuple(rule for rule in VOICES if rule.name == "relevance")


@dataclass(frozen=True, slots=True)
class Found:
    """Numbers of texts: ``about`` the symbol there are; of those found ``kept`` were kept, ``right`` of them
    rightly; the search had ``found`` so many, of which ``meant`` are about the symbol.
    """

    about: int
    found: int
    meant: int
    kept: int
    right: int

    @property
    def precision(self) -> float:
        return self.right / max(1, self.kept)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.about)


def main(days: int) -> None:
    for source in SOURCES:
        every = {symbol: measure(source, symbol, days) for symbol in SYMBOLS}
        for symbol, found in every.items():
            print(f"  {source:7} {symbol:5} {told(found)}")
        print(f"{source}: {told(summed(list(every.values())))}")
    others = rows()
    print(f"rows of our own: {sum(map(is_kept, others))} of {len(others)} look-alikes were kept")


def told(found: Found) -> str:
    searched = found.meant / max(1, found.found)
    return (
        f"precision {found.precision:.3f} at recall {found.recall:.3f} "
        f"({found.about} about it; the search alone {searched:.3f} of {found.found})"
    )


def summed(every: list[Found]) -> Found:
    return Found(
        *(sum(getattr(each, name) for each in every) for name in ("about", "found", "meant", "kept", "right"))
    )


def measure(source: str, symbol: str, days: int) -> Found:
    """What the search and the rule make of ``days``, asked for day by day as searches end somewhere."""
    parts = []
    for day in range(days):
        world = World(source, BEGIN + (day + 1) * DAY)
        truth = {world.api.ids(*row)[0]: row for row in world.truth(symbol, 24) if is_there(world, *row)}
        about = {id for id, row in truth.items() if symbol in post.symbols(*row)}
        items = [item for item in world.items(symbol, 24) if item.id in truth]
        kept = {item.id for item, is_one in zip(items, judged(items, symbol), strict=True) if is_one}
        found = {item.id for item in items}
        parts.append(Found(len(about), len(found), len(found & about), len(kept), len(kept & about)))
    return summed(parts)


def is_there(world: World, stream: Stream, k: int) -> bool:
    """Whether item ``k`` is English and can be found."""
    return post.language(stream, k) == "en" and world.can_be_found(stream, k)


def judged(items: list[Item], symbol: str) -> list[bool]:
    return [share > 0 for share in weigh(items, RULE, symbol).shares]


def is_kept(row: tuple[str, str]) -> bool:
    symbol, text = row
    return named(symbol).is_meant(text)


def rows() -> list[tuple[str, str]]:
    """Symbols, each with a text that is spelled alike."""
    lines = LOOKALIKES.read_text("utf-8").splitlines()
    found = (line.partition("\t") for line in lines if not line.startswith("#"))
    return [(symbol, text) for symbol, _, text in found]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=3)
    main(parser.parse_args().days)
