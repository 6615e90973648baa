"""``tbcache cache``: how it stands, and clearing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tbcache.cli.context import act_as, quiet_settings, require_redis
from tbcache.cli.error import say
from tbcache.cli.option import AsCsv, AsJson, DataDir, DryRun, Who
from tbcache.cli.output import show
from tbcache.cli.table import rows_table
from tbcache.models.error import nearest

if TYPE_CHECKING:
    from tbcache.fleet import CacheUsage

CLEAR_EXAMPLE = "Example: tbcache cache clear 'twitter:*' --dry-run"
STATS_EXAMPLE = "Example: tbcache cache stats"

commands = typer.Typer()
caches = typer.Typer(epilog=CLEAR_EXAMPLE)
commands.add_typer(caches, name="cache")


@caches.callback()
def _caches(data_dir: DataDir = None) -> None:
    """Show how the cache stands, or clear what is in it."""


@caches.command("stats", epilog=STATS_EXAMPLE)
def stats(as_json: AsJson = False, as_csv: AsCsv = False, data_dir: DataDir = None) -> None:
    """Show how large the cache is, and how often it has had the answer today."""
    found = require_redis(quiet_settings()).cache()
    show(found, lambda: _table(found), as_json=as_json, as_csv=as_csv)


@caches.command("clear", epilog=CLEAR_EXAMPLE)
def clear(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A glob over SOURCE:SYMBOL:HOURS.")],
    dry_run: DryRun = False,
    who: Who = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Remove every cached answer that matches a pattern."""
    from tbcache.settings import get_sources

    settings = quiet_settings()
    fleet = require_redis(settings)
    count = fleet.count(pattern) if dry_run else act_as(who).clear(pattern)
    head = pattern.partition(":")[0]
    if count == 0 and head not in get_sources(settings):
        say(f"nothing matches {pattern!r}{nearest(head, get_sources(settings))}")
    done = (
        {"pattern": pattern, "cleared": 0, "would_clear": count}
        if dry_run
        else {"pattern": pattern, "cleared": count}
    )
    words = f"{count} would be cleared" if dry_run else f"{count} cleared"
    show(done, lambda: words, as_json=as_json, as_csv=False)


def _table(found: CacheUsage) -> Table:
    asked = (found.hits_today or 0) + (found.misses_today or 0)
    rate = "-" if not asked or found.cache_hit_rate is None else f"{found.cache_hit_rate:.0%}"
    rows = [
        ("server", f"{found.server_version or 'Redis'} at {found.address}"),
        ("answers in", "-" if found.ping_ms is None else f"{found.ping_ms:.1f} ms"),
        ("namespace", found.namespace),
        ("keys, of all in it", "-" if found.keys is None else f"{found.keys:,}"),
        ("memory", "-" if found.memory_bytes is None else f"{found.memory_bytes / 1e6:,.1f} MB"),
        ("hits today (UTC)", f"{found.hits_today or 0:,}"),
        ("misses today", f"{found.misses_today or 0:,}"),
        ("hit rate today", rate),
    ]
    return rows_table(("cache", "value"), rows)
