"""What every script of a client begins with: the simulator takes the place of the real hosts.

A script runs as ``python tests/clients/NAME.py URL`` in the environment of the clients, and prints what it
saw as JSON. It asks nobody else: a request to any other host is an error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import requests

_HOSTS = {
    "https://api.twitter.com": "twitter",
    "https://newsapi.org": "news",
    "https://api.stocktwits.com": "stocktwits",
}
_send = requests.Session.request


def main(script: Callable[[str], dict[str, Any]]) -> None:
    """Run ``script`` with the simulator's base URL."""
    base = sys.argv[1]

    def redirected(session: requests.Session, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        for host, name in _HOSTS.items():
            if url.startswith(f"{host}/"):
                url = f"{base}/{name}{url.removeprefix(host)}"
        if not url.startswith(f"{base}/"):
            raise AssertionError(f"{url} is not the simulator's")
        return _send(session, method, url, *args, **kwargs)

    requests.Session.request = redirected  # type: ignore[method-assign]
    json.dump(script(base), sys.stdout)


def credential(name: str) -> str:
    """A credential of the demo, by its variable."""
    return os.environ[name]


def faults(base: str, **by_source: dict[str, Any]) -> None:
    """Let these go wrong, and nothing else."""
    requests.delete(f"{base}/_faults", timeout=20).raise_for_status()
    requests.post(f"{base}/_faults", json=by_source, timeout=20).raise_for_status()


def naps(meanwhile: Callable[[], None] | None = None) -> list[float]:
    """The seconds that a client means to sleep from now on; it goes on at once.

    While it means to sleep for more than a second, ``meanwhile`` happens.
    """
    asked: list[float] = []

    def nap(seconds: float) -> None:
        asked.append(seconds)
        if meanwhile is not None and seconds > 1:
            meanwhile()

    time.sleep = nap
    return asked
