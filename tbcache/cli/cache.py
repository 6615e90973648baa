"""``tbcache cache``: how it stands, and clearing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tbcache.cli.command import CSV, JSON, command, commands, group
from tbcache.cli.consent import is_meant
from tbcache.cli.context import act_as, quiet_settings, require_redis
from tbcache.cli.option import DryRun, Who, Yes
from tbcache.cli.output import columns_of, show, tell
from tbcache.cli.table import rows_table

if TYPE_CHECKING:
    from tbcache.fleet import CacheUsage


@group(commands, "cache", "tbcache cache clear 'twitter:*' --dry-run")
def caches() -> None:
    """Show how the cache stands, or clear what is in it."""


@command(caches, "stats", "tbcache cache stats", JSON, CSV)
def stats() -> None:
    """Show how large the cache is, and how often it has had the answer today."""
    found = require_redis(quiet_settings()).cache()
    show(found, lambda: _table(found), columns=columns_of(type(found)))


@command(caches, "clear", "tbcache cache clear 'twitter:*' --dry-run", JSON)
def clear(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A glob over SOURCE:SYMBOL:HOURS.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    who: Who = None,
) -> None:
    """Remove every cached answer that matches a pattern."""
    from tbcache.fleet import Cleared

    found = require_redis(quiet_settings()).preview(pattern)
    hint = f" ({found})" if found.count else found.near
    # Where nothing matches there is nothing to lose; what is being fetched is not kept then.
    if (found.count or dry_run) and not is_meant(
        found.count,
        f"cleared by {pattern!r}",
        Cleared.dry(pattern, found),
        hint=hint,
        dry_run=dry_run,
        yes=yes,
    ):
        return
    count = act_as(who).clear(pattern)
    said = f"{count} cleared" if count else f"nothing matches {pattern!r}{found.near}"
    tell(Cleared.of(pattern, count, found.near), said)


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
