"""The command line: ``tbcache``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0 ok, 1 failed, 2 usage or configuration, 3 Redis unreachable, 4 rate limited,
    5 upstream error, 130 interrupted.
    """
    from tbcache.cli.error import run

    return run(list(sys.argv[1:] if args is None else args))
