"""The process that a simulator is: ``python -m tbcache.testing.child OPTIONS``, which are JSON."""

from __future__ import annotations

import sys
from pathlib import Path

from tbcache.models import Limit
from tbcache.models.untrusted import read_json


def main(options: str) -> None:
    """Serve on a free port until SIGTERM; say on stdout where."""
    # Not above: it comes with an extra.
    from tbcache.embedded.simulator import create_app, serve

    given = read_json(options)
    given["limits"] = {name: Limit.parse_all(text) for name, text in given["limits"].items()}
    given["replay"] = Path(given["replay"]) if given["replay"] else None
    given["latency"] = tuple(given["latency"])
    serve(create_app(**given), "127.0.0.1", 0, on_ready=lambda url: print(url, flush=True))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
