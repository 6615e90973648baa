"""The results as a file that anyone may read: what ran, which versions, the tables, the bars."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from bench.table import Table
from tests.server import Server

PACKAGES = (
    "tbcache",
    "redis",
    "hiredis",
    "limits",
    "pyrate-limiter",
    "throttled-py",
    "dramatiq",
    "cashews",
    "aiocache",
    "aiolimiter",
    "dogpile.cache",
    "django-redis",
    "django",
    "celery",
    "rq",
    "huey",
    "arq",
    "saq",
    "taskiq",
    "taskiq-redis",
    "pydocket",
)
#: A bar as a table tells it, and the line of the head that counts them all.
_BAR = re.compile(r"^- (MET|NOT MET) +(.*): (.*)$", re.MULTILINE)
_COUNTED = re.compile(r"^\d+ of \d+ bars met\..*$", re.MULTILINE)


def results(tables: Sequence[Table]) -> str:
    """The whole file."""
    head = [
        "# tbcache beside its peers",
        "",
        _written(),
        "",
        ", ".join(versions()) + ".",
        "",
        "0 of 0 bars met.",
    ]
    return replaced("\n".join(head), tables)


def replaced(text: str, tables: Sequence[Table]) -> str:
    """The file ``text`` with these tables in the place of those of the same titles, or at its end, and their
    bars counted in its head. The date and the versions there are those of the run that wrote all of it.
    """
    for table in tables:
        section = table.to_markdown().rstrip() + "\n\n"
        pattern = re.compile(rf"^## {re.escape(table.title)}$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
        text, count = pattern.subn(lambda _, new=section: new, text)
        text = text if count else f"{text.rstrip()}\n\n{section}"
    return _COUNTED.sub(lambda _: _counted(text), text.rstrip() + "\n")


def _written() -> str:
    return (
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores. "
        "Every table comes from one run; read ratios and counts, not times."
    )


def versions() -> list[str]:
    """Python, the server, tbcache and its peers; a peer that is not installed is left out."""
    found = [f"Python {platform.python_version()}", _server_version()]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found


def _counted(text: str) -> str:
    """How many of the bars in ``text`` are met, and which are not."""
    bars = _BAR.findall(text)
    missed = [f"{asked} ({measured})" for verdict, asked, measured in bars if verdict == "NOT MET"]
    listed = f" Not met: {'; '.join(missed)}." if missed else ""
    return f"{len(bars) - len(missed)} of {len(bars)} bars met.{listed}"


def _server_version() -> str:
    server = Server().start()
    try:
        told = server.client.info("server")
    finally:
        server.close()
    if "valkey_version" in told:
        return f"Valkey {told['valkey_version']}"
    return f"Redis {told['redis_version']}"
