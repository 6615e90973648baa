"""tbcache beside its peers, ratios only.

    python -m bench             all tables, in half an hour; writes bench/RESULTS.md
    python -m bench --quick     fewer rows and rounds, under 2 minutes; writes nothing
    python -m bench --only hit  one table; with --write it takes the place of the last one in bench/RESULTS.md
    python -m bench --only limiters --seeds 3

Progress goes to stderr, the tables to stdout.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import (
    aio,
    bill,
    bulk,
    clear,
    damage,
    day,
    decision,
    exactness,
    fairness,
    foreign,
    hit,
    lanes,
    layer,
    outage,
    pacing,
    peers,
    prewarm,
    queue,
    refresh,
    refusal,
    stampede,
    trace,
)
from bench.report import replaced, results
from bench.table import Table

TABLES: dict[str, Callable[..., Table]] = {
    "limiters": exactness.table,
    "decision": decision.table,
    "layers": layer.table,
    "foreign": foreign.table,
    "refusal": refusal.table,
    "lanes": lanes.table,
    "pacing": pacing.table,
    "fairness": fairness.table,
    "prewarm": prewarm.table,
    "hit": hit.table,
    "tracing": trace.table,
    "asyncio": aio.table,
    "stampede": stampede.table,
    "refresh": refresh.table,
    "clear": clear.table,
    "queue": queue.table,
    "queues": peers.table,
    "bulk": bulk.table,
    "outage": outage.table,
    "damage": damage.table,
    "bill": bill.table,
    "day": day.table,
}
RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=TABLES, action="append")
    parser.add_argument("--seeds", type=int, help="of tbcache under each load of the limiters")
    parser.add_argument("--write", action="store_true", help="what --only has measured")
    options = parser.parse_args()
    # What a worker would say of each outage is not what this is about.
    logging.disable(logging.CRITICAL)
    tables = []
    for name in options.only or TABLES:
        seeds = {"seeds": options.seeds} if name == "limiters" else {}
        tables.append(measure(name, is_quick=options.quick, **seeds))
        print(tables[-1].to_markdown(), flush=True)
        if options.write or not (options.quick or options.only):
            # At once: a run takes long, and may be broken off.
            RESULTS.write_text(replaced(RESULTS.read_text("utf-8"), tables[-1:]), "utf-8")
    if not options.quick and not options.only:
        RESULTS.write_text(results(tables), "utf-8")


def measure(name: str, *, is_quick: bool, **options: Any) -> Table:
    """One table; says on stderr how long it took."""
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    started = time.monotonic()
    found = TABLES[name](is_quick=is_quick, **options)
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
