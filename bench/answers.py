"""How far an answer is from what the simulator knows to be true, and what each voice rule changes in that.

    python -m bench.answers [--days N] [--source NAME ...]

Every item that the simulated sources have of ten symbols over N days goes through the scorer and the voice
rules, a day and a symbol at a time, as if all of it had been fetched. The truth is the mean stance (1
bullish, -1 bearish) of what was said in somebody's own words and not taken down: no retweet, no copy, no
advertisement. The answer is the same mean over the labels that our scores give, by what the rules leave of
each item. Prints the mean absolute error: without rules, with each alone, with all, and with all but each;
then how many items each rule took out and how many of those were voices of their own.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from tbcache.embedded.simulator import post
from tbcache.embedded.simulator.stream import CROWD, DAY, POPULARITY, Stream, newest_first, open_stream
from tbcache.models import Item, Kind
from tbcache.scoring import THRESHOLD, VOICES, VoiceRule, get_scorer, score_items
from tbcache.scoring.voices import weigh

SEED = 1
#: The first day: any would do.
BEGIN = 20_500 * DAY
#: How much is said of the most talked-about symbol in a day.
PER_DAY = {"twitter": 1400.0, "stocktwits": 1400.0, "reddit": 400.0, "news": 80.0}
OWN_WORDS = ("original", "quote", "reply")
_KINDS: dict[str, Kind] = {"retweet": "repost", "quote": "quote", "reply": "reply"}
_STANCES = {"bullish": 1.0, "bearish": -1.0, "neutral": 0.0}


class Sample(NamedTuple):
    """One day of one symbol: its items with their scores, and the stances of those that are voices."""

    items: list[Item]
    scores: list[float | None]
    stances: list[float | None]

    @property
    def truth(self) -> float:
        return statistics.mean(stance for stance in self.stances if stance is not None)


def main(days: int, sources: Sequence[str]) -> None:
    for source in sources:
        samples = [sample for sample in read(source, days) if any(s is not None for s in sample.stances)]
        items = sum(len(sample.items) for sample in samples)
        print(f"{source}: {len(samples)} days of a symbol, {items} items; mean absolute error of the stance")
        for name, rules in ways().items():
            print(f"  {name:24} {error(samples, rules):.3f}")
        for name, (taken, voices) in out(samples, VOICES).items():
            print(f"  {name:24} took out {taken:.0f} items, of which {voices:.0f} were voices")


def ways() -> dict[str, tuple[VoiceRule, ...]]:
    """The sets of rules that are compared, by name."""
    alone = {f"{rule.name} alone": (rule,) for rule in VOICES}
    without = {f"all but {rule.name}": tuple(r for r in VOICES if r is not rule) for rule in VOICES}
    return {"no rules": (), **alone, "all": VOICES, **without}


def error(samples: Sequence[Sample], rules: Sequence[VoiceRule]) -> float:
    return statistics.mean(abs(answered(sample, rules) - sample.truth) for sample in samples)


def answered(sample: Sample, rules: Sequence[VoiceRule]) -> float:
    """The mean label of what the rules leave."""
    rated = [
        (share, (score >= THRESHOLD) - (score <= -THRESHOLD))
        for share, score in zip(weigh(sample.items, rules).shares, sample.scores, strict=True)
        if score is not None
    ]
    total = sum(share for share, _ in rated)
    return sum(share * label for share, label in rated) / total if total else 0.0


def out(samples: Sequence[Sample], rules: Sequence[VoiceRule]) -> dict[str, tuple[float, float]]:
    """Of each rule, how many items it took out, and how many of these had been voices of their own."""
    taken, wrong = defaultdict[str, float](float), defaultdict[str, float](float)
    for sample in samples:
        before = [1.0] * len(sample.items)
        for k, rule in enumerate(rules):
            after = weigh(sample.items, rules[: k + 1]).shares
            for was, now, stance in zip(before, after, sample.stances, strict=True):
                taken[rule.name] += was - now
                wrong[rule.name] += (was - now) * (stance is not None)
            before = list(after)
    return {rule.name: (taken[rule.name], wrong[rule.name]) for rule in rules}


def read(source: str, days: int) -> Iterator[Sample]:
    for symbol in POPULARITY:
        streams = [open_stream(SEED, source, name, PER_DAY[source]) for name in (symbol, CROWD)]
        for day in range(days):
            start = BEGIN + day * DAY
            rows = [
                (stream, k)
                for stream, k in newest_first(streams, start, start + DAY)
                if symbol in post.symbols(stream, k)
            ]
            items = [item(stream, k, start + DAY) for stream, k in rows]
            yield Sample(items, score_items(items, get_scorer(), symbol), [stance(*row) for row in rows])


def item(stream: Stream, k: int, now: float) -> Item:
    """Item ``k`` as our parsers read it at ``now``."""
    written = post.write(stream, k)
    gone = post.is_gone(stream, k, now)
    return Item(
        f"{stream.symbol}-{k}",
        datetime.fromtimestamp(written.at, UTC),
        "" if gone else written.text,
        author=written.author.username,
        kind=_KINDS.get(written.kind, "post"),
        # Only X says in which language a post is.
        lang=written.lang if stream.source == "twitter" else None,
        symbols=written.symbols if stream.source in ("twitter", "stocktwits") else (),
        origin=None if written.of is None else f"{stream.symbol}-{written.of}",
        is_gone=gone,
    )


def stance(stream: Stream, k: int) -> float | None:
    """What its author thinks, where item ``k`` is a voice of its own."""
    written = post.write(stream, k)
    if written.kind not in OWN_WORDS or written.removed_at is not None:
        return None
    return _STANCES[written.stance]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--source", action="append", choices=tuple(PER_DAY))
    options = parser.parse_args()
    main(options.days, options.source or ("twitter", "stocktwits", "reddit"))
