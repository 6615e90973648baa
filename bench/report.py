"""The results as a file that anyone may read: what ran, which versions, the tables, the bars."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from bench.table import Bar, Table
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


def results(tables: Sequence[Table]) -> str:
    """The whole file."""
    bars = [bar for table in tables for bar in table.bars]
    return "\n".join(
        [
            "# tbcache beside its peers",
            "",
            _written(),
            "",
            ", ".join(versions()) + ".",
            "",
            f"{sum(bar.is_met for bar in bars)} of {len(bars)} bars met.{_missed(bars)}",
            "",
            *(table.to_markdown() for table in tables),
        ]
    )


def replaced(text: str, tables: Sequence[Table]) -> str:
    """The file ``text`` with these tables in the place of those of the same titles, or at its end. What its
    head says of all tables is that of the run that wrote it."""
    for table in tables:
        section = table.to_markdown().rstrip() + "\n\n"
        pattern = re.compile(rf"^## {re.escape(table.title)}$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
        text, count = pattern.subn(lambda _, new=section: new, text)
        text = text if count else f"{text.rstrip()}\n\n{section}"
    return text.rstrip() + "\n"


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


def _missed(bars: Sequence[Bar]) -> str:
    missed = [f"{bar.asked} ({bar.measured})" for bar in bars if not bar.is_met]
    return f" Not met: {'; '.join(missed)}." if missed else ""


def _server_version() -> str:
    server = Server().start()
    try:
        told = server.client.info("server")
    finally:
        server.close()
    if "valkey_version" in told:
        return f"Valkey {told['valkey_version']}"
    return f"Redis {told['redis_version']}"
