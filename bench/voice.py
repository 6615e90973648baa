"""What each voice rule does to how far answers are from the truth, see :mod:`bench.answers`.

Every item that a source has of ten symbols over some days goes through the scorer and the voice rules, a day
and a symbol at a time: the error without rules, with each alone, with all, and with all but each, by our
scores, and where each item is read rightly, which is what the rules alone are off by (advertisements may make
good for what a scorer misses, and the error by scores is the less for it); then how many items each rule took
out and how many of those were voices of their own.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from bench.world import SEED
from tbcache.embedded.simulator import post
from tbcache.embedded.simulator.stream import CROWD, DAY, POPULARITY, Stream, newest_first, open_stream
from tbcache.models import Item, Kind
from tbcache.scoring import THRESHOLD, VOICES, VoiceRule, get_scorer, score_items
from tbcache.scoring.voices import weigh

#: The first day: any would do.
BEGIN = 20_500 * DAY
#: How much is said of the most talked-about symbol in a day.
PER_DAY = {"twitter": 1400.0, "stocktwits": 1400.0, "reddit": 400.0, "news": 80.0}
OWN_WORDS = ("original", "quote", "reply")
STANCES = {"bullish": 1.0, "bearish": -1.0, "neutral": 0.0}
_KINDS: dict[str, Kind] = {"retweet": "repost", "quote": "quote", "reply": "reply"}


class Sample(NamedTuple):
    """One day of one symbol: items with their scores, the stances of the voices among them, and of all."""

    items: list[Item]
    scores: list[float | None]
    stances: list[float | None]
    views: list[float]

    @property
    def truth(self) -> float:
        return statistics.mean(stance for stance in self.stances if stance is not None)


def told(source: str, days: int) -> Iterator[str]:
    """The figures of ``source``, a line each."""
    samples = [sample for sample in read(source, days) if any(s is not None for s in sample.stances)]
    items = sum(len(sample.items) for sample in samples)
    yield f"{source}: {len(samples)} days of a symbol, {items} items; mean absolute error of the stance"
    for name, rules in ways().items():
        right = statistics.mean(abs(read_rightly(sample, rules) - sample.truth) for sample in samples)
        yield f"  {name:24} {error(samples, rules):.3f}, read rightly {right:.3f}"
    for name, (taken, voices) in out(samples, VOICES).items():
        yield f"  {name:24} took out {taken:.0f} items, of which {voices:.0f} were voices"


def ways() -> dict[str, tuple[VoiceRule, ...]]:
    """The sets of rules that are compared, by name."""
    alone = {f"{rule.name} alone": (rule,) for rule in VOICES}
    without = {f"all but {rule.name}": tuple(r for r in VOICES if r is not rule) for rule in VOICES}
    return {"no rules": (), **alone, "all": VOICES, **without}


def error(samples: Sequence[Sample], rules: Sequence[VoiceRule]) -> float:
    return statistics.mean(abs(answered(sample, rules) - sample.truth) for sample in samples)


def answered(sample: Sample, rules: Sequence[VoiceRule]) -> float:
    """The mean label of what the rules leave."""
    return balance(weigh(sample.items, rules).shares, sample.scores)


def read_rightly(sample: Sample, rules: Sequence[VoiceRule]) -> float:
    """The same where every item has the label that its author would give it."""
    scored = [
        None if score is None else view for score, view in zip(sample.scores, sample.views, strict=True)
    ]
    return balance(weigh(sample.items, rules).shares, scored)


def balance(shares: Sequence[float], scores: Sequence[float | None]) -> float:
    """The mean of the labels that the scores are, by how much of each item counts."""
    return mean(
        (share, label(score)) for share, score in zip(shares, scores, strict=True) if score is not None
    )


def label(score: float) -> int:
    return (score >= THRESHOLD) - (score <= -THRESHOLD)


def mean(weighted: Iterable[tuple[float, float]]) -> float:
    """The mean of pairs of a weight and a value; 0 where nothing weighs anything."""
    pairs = list(weighted)
    total = sum(weight for weight, _ in pairs)
    return sum(weight * value for weight, value in pairs) / total if total else 0.0


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
            scores = score_items(items, get_scorer(), symbol)
            views = [STANCES[post.write(*row).stance] for row in rows]
            yield Sample(items, scores, [stance(*row) for row in rows], views)


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
    return STANCES[written.stance]
