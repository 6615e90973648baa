"""The results as a file that anyone may read: what ran, which versions, the tables, the bars."""

from __future__ import annotations

import os
import platform
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
