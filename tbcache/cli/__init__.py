"""The command line: ``tbcache``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0 ok, 1 failed, 2 usage or configuration, 3 Redis unreachable, 4 rate limited,
    5 upstream error, 130 interrupted.
    """
    from tbcache.cli.error import run

    # A module with the user's own source may stand in the working folder.
    if os.getcwd() not in sys.path:  # noqa: PTH109 -- sys.path holds strings
        sys.path.append(os.getcwd())  # noqa: PTH109
    return run(list(sys.argv[1:] if args is None else args))
