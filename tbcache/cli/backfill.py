"""``tbcache backfill``: older items into the database, within limits and budget."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import typer

from tbcache.cli.command import JSON, command, commands
from tbcache.cli.context import look_for_redis, quiet_settings
from tbcache.cli.error import exit_code, failure, say
from tbcache.cli.moment import moment
from tbcache.cli.option import Patience, SourceName, Ticker
from tbcache.cli.output import tell
from tbcache.cli.progress import progress
from tbcache.io import now, utc_now
from tbcache.models.error import BudgetExhausted, RateLimited, UpstreamError

#: So often it says in a pipe how far it is.
SAY_SECONDS = 10.0

_WHY = {
    "recent": "what came within the last hour is left to `tbcache fetch`",
    "nothing_older": "the upstream gives nothing older",
    "search_depth": "the upstream's search goes no deeper",
    "no_next_page": "the upstream names no older page, and does not say that there is none",
}


@command(commands, "backfill", "tbcache backfill stocktwits AAPL --since 7d", JSON)
def backfill(
    source: SourceName,
    symbol: Ticker,
    since: Annotated[
        str,
        typer.Option(
            help="Go back to then: 7d is so long ago; or a date and time, UTC where it names no zone."
        ),
    ],
    timeout: Patience = 3600.0,
) -> None:
    """Fetch older items into the database; run it again, and it goes on where it was.

    What costs money takes up to the part __DEEPENING_SHARE of the day's budget (half); the rest is left for
    what is asked for.
    """
    from tbcache.settings import get_source

    settings = quiet_settings()
    start, known = moment("--since", since), get_source(source, settings)
    known.request(symbol)
    look_for_redis(settings)
    # It reads half of the library: not before the request is known to be sound.
    from tbcache.providers import get_provider

    provider, pages = get_provider(source), _Pages(start)
    provider.usage_monitor.count_as_command()
    try:
        with progress(f"hours of {symbol} in {source}", pages.hours) as advance:
            pages.advance = advance
            reason = provider.backfill(symbol, start, patience=timeout, on_page=pages.add)
    except UpstreamError as error:
        say(failure(known.request(symbol), error, known.variables))
        raise typer.Exit(exit_code(error)) from None
    except (RateLimited, BudgetExhausted) as error:
        say(f"{error}; run it again, and it goes on where it was")
        raise typer.Exit(exit_code(error)) from None
    finally:
        provider.client.close()
    said = f"{pages}; {'all is known' if reason is None else _WHY.get(reason, reason)}"
    done = {"source": source, "symbol": symbol, "since": start, **pages.to_data(), "reason": reason}
    tell(done, said)


class _Pages:
    """What has come, back to ``start``, said as it comes: by a bar on a terminal, in lines elsewhere."""

    def __init__(self, start: datetime) -> None:
        self.advance: Callable[[float], None] = lambda more: None
        self._pages = self._items = 0
        self._said_at = -math.inf
        self._start, self._reached = start, utc_now()
        self.hours = round((self._reached - start).total_seconds() / 3600)

    def add(self, items: int, since: datetime | None) -> None:
        self._pages += 1
        self._items += items
        if since is None:
            return
        # A line a page would fill the log of who lets it run for an hour.
        if not sys.stderr.isatty() and now() - self._said_at >= SAY_SECONDS:
            self._said_at = now()
            say(f"{self}; back to {since:%Y-%m-%d %H:%M}")
        self.advance(max(0.0, (self._reached - max(since, self._start)).total_seconds() / 3600))
        self._reached = min(self._reached, since)

    def to_data(self) -> dict[str, Any]:
        """How many there were; ``reached_at`` is the moment back to which they reach."""
        reached_at = self._reached if self._pages else None
        return {"pages": self._pages, "items": self._items, "reached_at": reached_at}

    def __str__(self) -> str:
        pages, items = ("" if count == 1 else "s" for count in (self._pages, self._items))
        return f"{self._pages} page{pages}, {self._items} item{items}"
