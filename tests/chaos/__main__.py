"""The command: ``python -m tests.chaos --seed 1 --seconds 600``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.chaos.plan import LOSS, SHORT, WEIGHTS, Shape
from tests.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--pause", type=float, default=2.5, help="mean seconds between two faults")
    parser.add_argument("--without", action="append", default=[], choices=list(WEIGHTS), metavar="FAULT")
    parser.add_argument("--loss", action="store_true", help="let the server lose its data as well")
    parser.add_argument("--short", action="store_true", help="as in the test suite")
    parser.add_argument("--folder", type=Path, help="where everything is written; must not be there yet")
    options = parser.parse_args()
    without = (*options.without, *(() if options.loss else (LOSS,)))
    shape = Shape(seconds=options.seconds, pause=options.pause, without=without)
    report = run(options.seed, SHORT if options.short else shape, options.folder, _say)
    print(report)
    if report.breaks:
        print("the faults were:", *report.faults, sep="\n")
    return 1 if report.breaks else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
