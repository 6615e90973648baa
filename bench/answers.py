"""How far answers are from what the simulator knows to be true, what they cost, and what each rule does.

    python -m bench.answers [--hours N] [--worlds N] [--days N] [--source NAME ...] [--symbol NAME ...]

First the pipe, in virtual time, in N worlds with a seed each: after some days of warming up, each symbol is
refreshed once a TTL for N hours and looked at once an hour, by three ways beside each other. "Timelines" is
what tbcache does; "last pages" is what 0.1.0 did, the newest pages read anew and the mean of all that is on
them; "all at TTL" is the naive pattern, all of the 24 hours read anew each time, with the mean of all. The
last two are read once an hour here, and their requests are reckoned up to one read a TTL; what is billed is
billed once a day anyhow. The error is that of the 24-hour answer, with its standard error by days of a symbol
(the hours of a day are hardly new samples); then what it would be

- among the voices of the languages that are asked for, as an answer leaves out the others;
- if each item were read as its author means it, counted as it is;
- if each voice counted once and nothing else did, read as it is;
- if both were so: what is left is what the answer does not have, as the voices in other languages.

"Sampling" is how far the mean of so many voices is off what all the crowd thinks: no error below it tells one
symbol from another. Recall and precision are of the voices of these hours: how many of them the answer has,
and how much of its weight is theirs. Staleness (the median and the 95th percentile) is how long after it was
posted an item was first in an answer. Then the rules over N days: see :mod:`bench.voice`.

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
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench import voice
from bench.voice import BEGIN, PER_DAY, STANCES, label, mean, stance
from bench.way import LastPages, Timelines, Way
from bench.world import PAGES, SEED, World
from tbcache.embedded.simulator import post
from tbcache.scoring import VOICES, VoiceRule, get_scorer, score_items
from tbcache.scoring.voices import weigh
from tbcache.settings import BUILT_IN

#: So many hours before it the timelines begin: articles are compared with those of three days before.
WARMING = 97
#: Those that the pipe is looked at with: much and little is said of them.
SYMBOLS = ("NVDA", "GME", "AAPL", "META")
#: What is asked for where nothing else is said.
LANGUAGE = "en"


def main(hours: int, worlds: int, days: int, sources: Sequence[str], symbols: Sequence[str]) -> None:
    for source in (name for name in sources if hours):
        print(f"{source}: {', '.join(symbols)} for {hours} h in {worlds} worlds, by a moved clock")
        for line in live(source, symbols, hours, range(SEED, SEED + worlds)):
            print(f"  {line}")
    for source in (name for name in sources if days):
        print(*voice.told(source, days), sep="\n")


class Voice(NamedTuple):
    """What the author of a voice thinks, and whether it is in the language that is asked for."""

    stance: float
    is_asked: bool


class Means(NamedTuple):
    """The balance of opinions of a symbol in 24 hours: what is ``true``, and is so among those that are
    ``asked`` for; what an answer said, and what it would have said if all it has were read rightly, if its
    voices alone counted, and if both were so.
    """

    true: float
    asked: float
    answered: float
    rightly: float
    evenly: float
    both: float


class Found(NamedTuple):
    """An item of an answer that has a score: how much of it counts, and its label: 1, 0 or -1."""

    id: str
    share: float
    label: int


@dataclass
class Figures:
    """What one way comes to in one world, looked at once an hour."""

    way: Way
    rules: Sequence[VoiceRule]
    #: How many reads stand for one that was made.
    times: float = 1.0
    looks: dict[str, list[Means]] = field(default_factory=lambda: defaultdict(list))
    #: How far the mean of the voices is off that of all the crowd, on the average.
    samplings: list[float] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)
    precisions: list[float] = field(default_factory=list)

    @property
    def errors(self) -> list[float]:
        return [abs(each.answered - each.true) for means in self.looks.values() for each in means]

    def look(self, symbol: str, truth: dict[str, Voice], views: dict[str, float]) -> None:
        """Compare the answer with the voices, and with what the authors of all items think, by their ids."""
        items = self.way.items(symbol)
        shares = weigh(items, self.rules, symbol, self.way.earlier(symbol)).shares
        scores = score_items(items, get_scorer(), symbol)
        found = [
            Found(item.id, share, label(score))
            for item, share, score in zip(items, shares, scores, strict=True)
            if score is not None
        ]
        voices = [(truth[each.id].stance, each.label) for each in found if each.id in truth]
        self.looks[symbol].append(
            Means(
                true=statistics.mean(voice.stance for voice in truth.values()),
                asked=mean((1.0, voice.stance) for voice in truth.values() if voice.is_asked),
                answered=mean((each.share, each.label) for each in found),
                rightly=mean((each.share, views.get(each.id, 0.0)) for each in found),
                evenly=mean((1.0, read) for _, read in voices),
                both=mean((1.0, meant) for meant, _ in voices),
            )
        )
        self.samplings.append(sampling([voice.stance for voice in truth.values()]))
        known = [share for item, share in zip(items, shares, strict=True) if item.id in truth]
        self.recalls.append(len(known) / len(truth))
        self.precisions.append(sum(known) / (sum(shares) or 1.0))


def told(name: str, worlds: Sequence[Figures], days: float) -> str:
    """One way in all worlds; ``days`` are those of all symbols together."""
    late = sorted(latency for figures in worlds for latency in figures.way.latencies)
    stale = (
        ""
        if worlds[0].times > 1 or not late
        else f", stale {late[len(late) // 2]:.0f} / {late[-len(late) // 20]:.0f} s"
    )
    requests = sum(figures.way.world.requests * figures.times for figures in worlds)
    billed = sum(figures.way.world.ledger.billed for figures in worlds)
    return (
        f"{name:12} {errors([means for figures in worlds for means in figures.looks.values()])}; "
        f"sampling {_mean(worlds, 'samplings')}, recall {_mean(worlds, 'recalls')}, "
        f"precision {_mean(worlds, 'precisions')}, "
        f"{requests / days:.0f} requests and ${billed / days:.2f} a symbol and day{stale}"
    )


def errors(days: Sequence[Sequence[Means]]) -> str:
    """The mean absolute errors over ``days``, each the hours of one symbol in one world."""
    each = [statistics.mean(abs(means.answered - means.true) for means in day) for day in days]
    spread = statistics.stdev(each) / math.sqrt(len(each)) if len(each) > 1 else math.nan
    hours = [means for day in days for means in day]
    asked = statistics.mean(abs(means.answered - means.asked) for means in hours)
    others = ", ".join(
        f"{name} {statistics.mean(abs(getattr(means, name) - means.true) for means in hours):.3f}"
        for name in ("rightly", "evenly", "both")
    )
    return f"error {statistics.mean(each):.3f} ±{spread:.3f} (in {LANGUAGE} {asked:.3f}; if read {others})"


def _mean(worlds: Sequence[Figures], name: str) -> str:
    return f"{statistics.mean(figure for figures in worlds for figure in getattr(figures, name)):.3f}"


def live(source: str, symbols: Sequence[str], hours: int, seeds: Sequence[int]) -> list[str]:
    """The three ways beside each other: each a line."""
    worlds = [_live(source, symbols, hours, seed) for seed in seeds]
    days = hours / 24 * len(symbols) * len(worlds)
    return [told(name, [world[name] for world in worlds], days) for name in worlds[0]]


def _live(source: str, symbols: Sequence[str], hours: int, seed: int) -> dict[str, Figures]:
    ttl = BUILT_IN[source].cache_ttl
    timelines, last, every = (
        Timelines(source, BEGIN, seed),
        LastPages(source, BEGIN, seed),
        LastPages(source, BEGIN, seed, PAGES),
    )
    found = {
        "timelines": Figures(timelines, VOICES),
        "last pages": Figures(last, (), 3600 / ttl),
        "all at TTL": Figures(every, (), 3600 / ttl),
    }
    for hour in range(-WARMING, 0):
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
    return found


def refresh(ways: Sequence[Way], symbols: Sequence[str], seconds: float) -> None:
    for way in ways:
        way.world.now = BEGIN + seconds
        for symbol in symbols:
            way.refresh(symbol)


def look(found: Collection[Figures], symbols: Sequence[str], world: World) -> None:
    for symbol in symbols:
        if truth := voices(world, symbol):
            views = opinions(world, symbol)
            for figures in found:
                figures.look(symbol, truth, views)


def voices(world: World, symbol: str) -> dict[str, Voice]:
    """The voices of the last 24 hours, by the ids of their items."""
    rows = [row for row in world.truth(symbol, 24) if world.can_be_found(*row)]
    return {
        world.api.ids(*row)[-1]: Voice(view, post.language(*row) == LANGUAGE)
        for row in rows
        if (view := stance(*row)) is not None
    }


def opinions(world: World, symbol: str) -> dict[str, float]:
    """What the authors of all items of the last 24 hours think, voices or not."""
    return {world.api.ids(*row)[-1]: STANCES[post.write(*row).stance] for row in world.truth(symbol, 24)}


def sampling(stances: Sequence[float]) -> float:
    """The mean absolute error of the mean of so many voices that were drawn at random, each read rightly:
    that of a normal variable of their standard error."""
    return math.sqrt(2 / math.pi) * statistics.pstdev(stances) / math.sqrt(len(stances))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--worlds", type=int, default=7)
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--source", action="append", choices=tuple(PER_DAY))
    parser.add_argument("--symbol", action="append")
    options = parser.parse_args()
    main(
        options.hours,
        options.worlds,
        options.days,
        options.source or tuple(PER_DAY),
        options.symbol or SYMBOLS,
    )
