"""The command: ``python -m tests.chaos --seed 1 --seconds 600``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.chaos.plan import WEIGHTS
from tests.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--without", action="append", default=[], choices=list(WEIGHTS), metavar="FAULT")
    parser.add_argument("--folder", type=Path, help="where everything is written; must not be there yet")
    options = parser.parse_args()
    report = run(
        options.seed,
        options.seconds,
        without=tuple(options.without),
        folder=options.folder,
        say=lambda line: print(line, flush=True),
    )
    print(report)
    if report.breaks:
        print("the faults were:", *report.faults, sep="\n")
    return 1 if report.breaks else 0


if __name__ == "__main__":
    sys.exit(main())
