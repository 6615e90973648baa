"""A demo that runs for a while, and what its simulator says of it: ``python -m tests.soak --seconds 300``.

Its simulator counts on its own what arrived, what it refused and what it would have billed. Both sides are
compared at the end, to the cent, and every answer that calls itself complete is looked at again.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.cli.command import Up, running_up
from tests.server import wait_until

#: Hours that somebody asks for beside what the demo keeps warm.
HOURS = (6, 24, 72, 168)
SYMBOLS = ("NVDA", "AAPL", "GME")
SOURCES = ("twitter", "reddit", "news", "options", "stocktwits")
CENT = 0.01


@dataclass
class Report:
    """What was found; ``breaks`` says in sentences what must not be."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = ("source", "asked", "arrived", "refused", "our bill", "its bill", "complete", "in part")
        lines = ["  ".join(f"{cell:>10}" for cell in row) for row in (head, *self.rows)]
        return "\n".join((*lines, *(self.breaks or ("nothing is broken",))))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    report = run(parser.parse_args().seconds)
    print(report, flush=True)
    return 1 if report.breaks else 0


def run(seconds: float) -> Report:
    with tempfile.TemporaryDirectory() as folder, running_up(Path(folder) / "data", "--demo") as up:
        up.wait_for("ready", timeout=60)
        end = time.monotonic() + seconds
        answers = list(_asked(up, end))
        up.wait_for("all common symbols are warm", timeout=120)
        while time.monotonic() < end:
            time.sleep(1.0)
        return _compare(up, answers)


def _asked(up: Up, end: float) -> Iterator[dict[str, Any]]:
    """Answers of every source for hours that nobody keeps warm, until ``end``."""
    for hours in HOURS:
        for symbol in SYMBOLS:
            for source in SOURCES:
                if time.monotonic() > end:
                    return
                done = up.run("fetch", source, symbol, "--hours", str(hours), "--timeout", "60", "--json")
                with contextlib.suppress(AssertionError):
                    yield done.data


def _compare(up: Up, answers: list[dict[str, Any]]) -> Report:
    report = Report()
    base = up.note()["variables"]["TBCACHE_NEWS__BASE_URL"].removesuffix("/news")
    ours, its = settled(up, base)
    for source in SOURCES:
        of_source = [answer["sentiment"] for answer in answers if answer["sentiment"]["source"] == source]
        complete = sum(sentiment["complete"] for sentiment in of_source)
        mine, stats = ours[source], its[source]
        report.rows.append((
            source, str(mine["requests_today"]), str(stats["accepted"]), str(stats["refused"]),
            f"{mine['cost_today']:.4f}", f"{stats['billed']:.4f}",
            str(complete), str(len(of_source) - complete),
        ))  # fmt: skip
        if stats["refused"]:
            report.breaks.append(f"{source}: {stats['refused']} requests were refused")
        if abs(mine["cost_today"] - stats["billed"]) >= CENT / 2:
            report.breaks.append(f"{source}: we count ${mine['cost_today']}, it bills ${stats['billed']}")
    return report


def settled(up: Up, base: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both sides' figures at a moment at which neither changed: what is under way is counted later by us."""

    def figures() -> tuple[dict[str, Any], dict[str, Any]]:
        usage = httpx2.get(f"{up.note()['api']}/api/monitoring/usage").json()["sources"]
        return usage, httpx2.get(f"{base}/_stats").json()

    def unchanged() -> tuple[dict[str, Any], dict[str, Any]] | None:
        first = figures()
        time.sleep(0.5)
        return first if figures() == first else None

    return wait_until(unchanged, timeout=60, what="a moment of rest")


if __name__ == "__main__":
    sys.exit(main())
