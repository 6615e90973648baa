"""How far answers are from what the simulator knows to be true, what they cost, and what each rule does.

    python -m bench.answers [--hours N] [--days N] [--source NAME ...] [--symbol NAME ...]

First the pipe, in virtual time: after a day of warming up, each symbol is refreshed once a TTL for N hours
and looked at once an hour, by three ways beside each other. "Timelines" is what tbcache does; "last pages" is
what 0.1.0 did, the newest pages read anew and the mean of all that is on them; "all at TTL" is the naive
pattern, all of the 24 hours read anew each time, with the mean of all. The last two are read once an hour
here, and their requests are reckoned up to one read a TTL; what is billed is billed once a day anyhow. The
error is that of the 24-hour answer, and made of three: what is "missing" (the voices that the answer does not
have, as those in other languages), what is "weighed" (what counts and is no voice, and voices that do not
count in full) and what is "read" (scores of another side than their author). Beside them stands how far the
mean of so many voices is off what all the crowd thinks, by sampling alone: no error below it tells one
symbol from another. Recall and precision are of the voices of these hours: how many of them
the answer has, and how much of its weight is theirs. Staleness (the median and the 95th percentile) is how
long after it was posted an item was first in an answer.

Then the rules: every item that the sources have of ten symbols over N days goes through the scorer and the
voice rules, a day and a symbol at a time. Prints the error without rules, with each alone, with all, and with
all but each: by our scores, and where each item is read rightly, which is what the rules alone are off by
(advertisements may make good for what a scorer misses, and the error by scores is the less for it); then how
many items each rule took out and how many of those were voices of their own.

The truth is the mean stance (1 bullish, -1 bearish) of what was said about the symbol in somebody's own
words, in any language, and not taken down: no retweet, copy, advertisement or look-alike; on reddit, in
the subreddits that are asked. The answer is the same mean over the labels that our scores give, by what the
rules leave of each item.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from bench.way import LastPages, Timelines, Way
from bench.world import PAGES, World
from tbcache.embedded.simulator import post
from tbcache.embedded.simulator.stream import CROWD, DAY, POPULARITY, Stream, newest_first, open_stream
from tbcache.models import Item, Kind
from tbcache.scoring import THRESHOLD, VOICES, VoiceRule, get_scorer, score_items
from tbcache.scoring.voices import weigh
from tbcache.settings import BUILT_IN

SEED = 1
#: The first day: any would do.
BEGIN = 20_500 * DAY
#: So many hours before it the timelines begin.
WARMING = 25
#: How much is said of the most talked-about symbol in a day.
PER_DAY = {"twitter": 1400.0, "stocktwits": 1400.0, "reddit": 400.0, "news": 80.0}
#: Those that the pipe is looked at with: much and little is said of them.
SYMBOLS = ("NVDA", "GME", "AAPL", "META")
OWN_WORDS = ("original", "quote", "reply")
_KINDS: dict[str, Kind] = {"retweet": "repost", "quote": "quote", "reply": "reply"}
_STANCES = {"bullish": 1.0, "bearish": -1.0, "neutral": 0.0}


class Sample(NamedTuple):
    """One day of one symbol: items with their scores, the stances of the voices among them, and of all."""

    items: list[Item]
    scores: list[float | None]
    stances: list[float | None]
    views: list[float]

    @property
    def truth(self) -> float:
        return statistics.mean(stance for stance in self.stances if stance is not None)


def main(hours: int, days: int, sources: Sequence[str], symbols: Sequence[str]) -> None:
    for source in (name for name in sources if hours):
        print(f"{source}: {', '.join(symbols)} for {hours} h, by a moved clock")
        for line in live(source, symbols, hours):
            print(f"  {line}")
    for source in (name for name in sources if days):
        samples = [sample for sample in read(source, days) if any(s is not None for s in sample.stances)]
        items = sum(len(sample.items) for sample in samples)
        print(f"{source}: {len(samples)} days of a symbol, {items} items; mean absolute error of the stance")
        for name, rules in ways().items():
            right = statistics.mean(abs(read_rightly(sample, rules) - sample.truth) for sample in samples)
            print(f"  {name:24} {error(samples, rules):.3f}, read rightly {right:.3f}")
        for name, (taken, voices) in out(samples, VOICES).items():
            print(f"  {name:24} took out {taken:.0f} items, of which {voices:.0f} were voices")


class Parts(NamedTuple):
    """What the error of an answer is made of: its parts add up to it, each with its sign."""

    missing: float
    weighed: float
    read: float

    @classmethod
    def of(cls, found: Sequence[Found], truth: dict[str, float], views: dict[str, float]) -> Parts:
        """``truth`` are the stances of the voices by the ids of their items, ``views`` those of all items."""
        true = statistics.mean(truth.values())
        known = statistics.mean([truth[each.id] for each in found if each.id in truth] or [0.0])
        weighed = _mean((each.share, views.get(each.id, 0.0)) for each in found)
        answered = _mean((each.share, each.label) for each in found)
        return cls(known - true, weighed - known, answered - weighed)

    @property
    def error(self) -> float:
        return abs(sum(self))


class Found(NamedTuple):
    """An item of an answer that has a score: how much of it counts, and its label: 1, 0 or -1."""

    id: str
    share: float
    label: int


@dataclass
class Figures:
    """What one way comes to, looked at once an hour."""

    way: Way
    rules: Sequence[VoiceRule]
    #: How many reads stand for one that was made.
    times: float = 1.0
    parts: list[Parts] = field(default_factory=list)
    #: How far the mean of the voices is off that of all the crowd, on the average.
    samplings: list[float] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)
    precisions: list[float] = field(default_factory=list)

    @property
    def errors(self) -> list[float]:
        return [parts.error for parts in self.parts]

    def look(self, symbol: str, truth: dict[str, float], views: dict[str, float]) -> None:
        """Compare the answer with the stances of the voices, by the ids of their items."""
        items = self.way.items(symbol)
        shares = weigh(items, self.rules, symbol, self.way.earlier(symbol)).shares
        scores = score_items(items, get_scorer(), symbol)
        found = [
            Found(item.id, share, label(score))
            for item, share, score in zip(items, shares, scores, strict=True)
            if score is not None
        ]
        self.parts.append(Parts.of(found, truth, views))
        self.samplings.append(sampling(list(truth.values())))
        known = [share for item, share in zip(items, shares, strict=True) if item.id in truth]
        self.recalls.append(len(known) / len(truth))
        self.precisions.append(sum(known) / (sum(shares) or 1.0))

    def told(self, name: str, days: float) -> str:
        """``days`` are those of all symbols together."""
        world, late = self.way.world, sorted(self.way.latencies)
        stale = (
            ""
            if self.times > 1 or not late
            else f", stale {late[len(late) // 2]:.0f} / {late[-len(late) // 20]:.0f} s"
        )
        return (
            f"{name:12} error {statistics.mean(self.errors):.3f} ({self._parts()}), "
            f"recall {statistics.mean(self.recalls):.3f}, precision {statistics.mean(self.precisions):.3f}, "
            f"{world.requests * self.times / days:.0f} requests and ${world.ledger.billed / days:.2f} "
            f"a symbol and day{stale}"
        )

    def _parts(self) -> str:
        means = (statistics.mean(map(abs, each)) for each in zip(*self.parts, strict=True))
        named = ", ".join(f"{name} {mean:.3f}" for name, mean in zip(Parts._fields, means, strict=True))
        return f"{named}; sampling {statistics.mean(self.samplings):.3f}"


def live(source: str, symbols: Sequence[str], hours: int) -> list[str]:
    """The three ways beside each other: each a line."""
    ttl = BUILT_IN[source].cache_ttl
    timelines, last, every = (
        Timelines(source, BEGIN),
        LastPages(source, BEGIN),
        LastPages(source, BEGIN, PAGES),
    )
    found = {
        "timelines": Figures(timelines, VOICES),
        "last pages": Figures(last, (), 3600 / ttl),
        "all at TTL": Figures(every, (), 3600 / ttl),
    }
    for hour in range(-WARMING, 0):
        # Articles are compared with those of the day before.
        refresh((timelines,), symbols, hour * 3600)
    for hour in range(hours + 1):
        for number in range(int(3600 / ttl)):
            refresh(
                (timelines, last, every) if number == 0 else (timelines,), symbols, hour * 3600 + number * ttl
            )
            if number == 0 and hour:
                look(found.values(), symbols, every.world)
        if hour == 0:
            for figures in found.values():
                figures.way.begin()
    return [figures.told(name, hours / 24 * len(symbols)) for name, figures in found.items()]


def refresh(ways: Sequence[Way], symbols: Sequence[str], seconds: float) -> None:
    for way in ways:
        way.world.now = BEGIN + seconds
        for symbol in symbols:
            way.refresh(symbol)


def look(found: Collection[Figures], symbols: Sequence[str], world: World) -> None:
    for symbol in symbols:
        if truth := stances(world, symbol):
            views = opinions(world, symbol)
            for figures in found:
                figures.look(symbol, truth, views)


def stances(world: World, symbol: str) -> dict[str, float]:
    """What the authors of the voices of the last 24 hours think, by the ids of their items."""
    rows = [row for row in world.truth(symbol, 24) if world.can_be_found(*row)]
    return {world.api.ids(*row)[-1]: view for row in rows if (view := stance(*row)) is not None}


def opinions(world: World, symbol: str) -> dict[str, float]:
    """What the authors of all items of the last 24 hours think, voices or not."""
    return {world.api.ids(*row)[-1]: _STANCES[post.write(*row).stance] for row in world.truth(symbol, 24)}


def sampling(stances: Sequence[float]) -> float:
    """The mean absolute error of the mean of so many voices that were drawn at random, each read rightly:
    that of a normal variable of their standard error."""
    return math.sqrt(2 / math.pi) * statistics.pstdev(stances) / math.sqrt(len(stances))


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
    return _mean(
        (share, label(score)) for share, score in zip(shares, scores, strict=True) if score is not None
    )


def label(score: float) -> int:
    return (score >= THRESHOLD) - (score <= -THRESHOLD)


def _mean(weighted: Iterable[tuple[float, float]]) -> float:
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
            views = [_STANCES[post.write(*row).stance] for row in rows]
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
    return _STANCES[written.stance]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--source", action="append", choices=tuple(PER_DAY))
    parser.add_argument("--symbol", action="append")
    options = parser.parse_args()
    main(options.hours, options.days, options.source or tuple(PER_DAY), options.symbol or SYMBOLS)
