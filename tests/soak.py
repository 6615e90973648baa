"""A demo that runs for a while, and what its simulator says of it: ``python -m tests.soak --seconds 120``.

Its simulator counts on its own what arrived, what it refused and what it would have billed. Both sides are
compared at the end, to the cent, and every answer that calls itself complete is looked at again. A source
of which nothing was there to compare is a break as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from tbcache import get_provider
from tbcache.embedded.simulator.mix import MIXES
from tbcache.embedded.simulator.search import finds
from tbcache.io import utc_now
from tbcache.models import Item
from tbcache.settings import SourceSettings
from tests.cli.command import Up, running_up
from tests.server import wait_until

#: Hours that somebody asks for beside what the demo keeps warm.
HOURS = (6, 24, 72, 168)
SYMBOLS = ("NVDA", "AAPL", "GME")
SOURCES = ("twitter", "reddit", "news", "options", "stocktwits")
#: Sources that are searched for several symbols at once.
PACKED = ("twitter", "reddit")
SUBREDDITS = SourceSettings().subreddits.split("+")
CENT = 0.01


@dataclass
class Report:
    """What was found; ``breaks`` says in sentences what must not be."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = (
            "source",
            "asked",
            "arrived",
            "refused",
            "our bill",
            "its bill",
            "complete",
            "in part",
            "failed",
            "checked",
        )
        lines = ["  ".join(f"{cell:>10}" for cell in row) for row in (head, *self.rows)]
        return "\n".join((*lines, *(self.breaks or ("nothing is broken",))))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    report = run(parser.parse_args().seconds)
    print(report, flush=True)
    return 1 if report.breaks else 0


def run(seconds: float) -> Report:
    with tempfile.TemporaryDirectory() as folder, running_up(Path(folder) / "data", "--demo") as up:
        up.wait_for("ready", timeout=60)
        end = time.monotonic() + seconds
        asked = list(_asked(up, end))
        up.wait_for("all common symbols are warm", timeout=120)
        while time.monotonic() < end:
            time.sleep(1.0)
        base = up.note()["variables"]["TBCACHE_NEWS__BASE_URL"].removesuffix("/news")
        return compare(base, *settled(up, base), asked)


def _asked(up: Up, end: float) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Sources with their answers for hours that nobody keeps warm, None for a fetch that failed; until
    ``end``."""
    for hours in HOURS:
        for symbol in SYMBOLS:
            for source in SOURCES:
                if time.monotonic() > end:
                    return
                done = up.run("fetch", source, symbol, "--hours", str(hours), "--timeout", "60", "--json")
                yield source, done.data["sentiment"] if done.code == 0 else None


def compare(
    base: str,
    ours: dict[str, Any],
    its: dict[str, Any],
    asked: list[tuple[str, dict[str, Any] | None]],
) -> Report:
    """Both sides' figures, and the answers, as :func:`_asked` gives them."""
    report = Report()
    for source in SOURCES:
        found = [sentiment for name, sentiment in asked if name == source]
        of_source = [sentiment for sentiment in found if sentiment is not None]
        complete = sum(sentiment["complete"] for sentiment in of_source)
        checked = sum(map(_can_be_checked, of_source))
        report.breaks.extend(untrue(base, of_source))
        mine, stats = ours[source], its[source]
        report.rows.append((
            source, str(mine["requests_today"]), str(stats["accepted"]), str(stats["refused"]),
            f"{mine['cost_today']:.4f}", f"{stats['billed']:.4f}",
            str(complete), str(len(of_source) - complete), str(len(found) - len(of_source)), str(checked),
        ))  # fmt: skip
        if not of_source or not stats["accepted"]:
            report.breaks.append(f"{source}: nothing was compared")
        elif source in MIXES and not checked:
            report.breaks.append(f"{source}: no answer could be checked")
        if stats["refused"]:
            report.breaks.append(f"{source}: {stats['refused']} requests were refused")
        if abs(mine["cost_today"] - stats["billed"]) >= CENT / 2:
            report.breaks.append(f"{source}: we count ${mine['cost_today']}, it bills ${stats['billed']}")
    return report


def untrue(base: str, sentiments: list[dict[str, Any]]) -> Iterator[str]:
    """The answers that lack what was there in the hours that they say they cover, in a sentence each."""
    for sentiment in sentiments:
        source, symbol, hours = sentiment["source"], sentiment["symbol"], sentiment["hours"]
        if not _can_be_checked(sentiment):
            continue
        known = httpx2.get(f"{base}/_truth/{source}/{symbol}?hours={hours + 1}").json()
        there = sum(_is_there(item, sentiment) for item in known)
        if sentiment["count"] < there:
            since = "complete" if sentiment["complete"] else f"since {sentiment['since']}"
            yield f"{source} {symbol} {hours} h, {since}: {sentiment['count']} of {there} items"


def _can_be_checked(sentiment: dict[str, Any]) -> bool:
    """Whether the simulator knows what was there in hours that the answer says it covers."""
    return sentiment["source"] in MIXES and bool(sentiment["complete"] or sentiment["since"])


def _is_there(item: dict[str, Any], sentiment: dict[str, Any]) -> bool:
    """Whether the upstream had the item when it was asked, and what we ask for matches it."""
    end = datetime.fromisoformat(sentiment["as_of"])
    start = (
        datetime.fromisoformat(sentiment["since"])
        if sentiment["since"]
        else end - timedelta(hours=sentiment["hours"])
    )
    # The answer was under way for a while.
    last = datetime.fromisoformat(sentiment["until"]) if sentiment["until"] else end - timedelta(seconds=10)
    is_removed = item["removed_at"] is not None and datetime.fromisoformat(item["removed_at"]) <= end
    is_asked = _is_asked(item, sentiment["source"], sentiment["symbol"])
    # Some are found only a while after they were written.
    is_found = datetime.fromisoformat(item["found_at"]) <= last
    is_there = start <= datetime.fromisoformat(item["at"]) <= last and is_found and not is_removed
    return is_there and is_asked


def _is_asked(item: dict[str, Any], source: str, symbol: str) -> bool:
    """Whether what our providers ask for matches the item."""
    if item["kind"] == "lookalike" and not is_found(item["text"], source, symbol):
        # What only sounds like the company may have neither its cashtag nor its name: "apples".
        return False
    match source:
        case "twitter":
            return item["lang"] == "en" and item["kind"] != "retweet"
        case "news":
            return item["lang"] == "en"
        case "reddit":
            return item["place"] in SUBREDDITS
        case _:
            return True


def is_found(text: str, source: str, symbol: str) -> bool:
    """Whether our search for ``symbol`` finds ``text``, and we take it for one of the symbol's."""
    provider = get_provider(source)
    request = provider.request(provider.source.request(symbol, 24), None, utc_now() - timedelta(hours=24))
    # What is found by a search for several symbols is of those that it names.
    is_ours = source not in PACKED or provider.is_of(Item("1", None, text), symbol)
    return finds(request.params.get("q") or f"${symbol}", text) and is_ours


def settled(up: Up, base: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both sides' figures at a moment at which neither changed: what is under way is counted later by us."""

    def figures() -> tuple[dict[str, Any], dict[str, Any]]:
        usage = httpx2.get(f"{up.note()['api']}/api/monitoring/usage").json()["sources"]
        return usage, httpx2.get(f"{base}/_stats").json()

    def unchanged() -> tuple[dict[str, Any], dict[str, Any]] | None:
        first = figures()
        time.sleep(0.5)
        return first if figures() == first else None

    return wait_until(unchanged, seconds=60, what="a moment of rest")


if __name__ == "__main__":
    sys.exit(main())
