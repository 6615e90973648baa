"""``tbcache enqueue`` and ``tbcache warm``: work for the fleet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tbcache.cli.command import CSV, FORM, JSON, command, commands
from tbcache.cli.context import act_as, quiet_settings, require_redis
from tbcache.cli.error import exit_code, failure, say
from tbcache.cli.exit import OK
from tbcache.cli.option import Hours, OnlySource, SourceName, Symbols, Timeout, Wait, Who
from tbcache.cli.output import (
    OUTCOME_COLUMNS,
    columns_of,
    outcome_data,
    outcome_row,
    request_data,
    show,
    terminal_width,
    wants_json,
)
from tbcache.cli.progress import progress
from tbcache.cli.table import outcome_table, rows_table
from tbcache.models import FetchRequest, Outcome
from tbcache.models.error import TbcacheError

if TYPE_CHECKING:
    from tbcache.fleet import Handle


@command(commands, "enqueue", "tbcache enqueue twitter AAPL MSFT --wait", JSON, CSV)
def enqueue(
    source: SourceName,
    symbols: Symbols,
    hours: Hours = 24,
    wait: Wait = False,
    timeout: Timeout = 60.0,
    caller: Annotated[
        str | None, typer.Option(metavar="NAME", help="In whose name; else as TBCACHE_CALLER says.")
    ] = None,
) -> None:
    """Queue fetches for the workers, and print what became of them with --wait."""
    settings = quiet_settings()
    from tbcache.fleet import fetches_of

    requests = fetches_of(settings, source, symbols, hours)
    fleet = require_redis(settings)
    handles = fleet.enqueue_many(requests, "interactive", caller)
    _show(handles, wait, timeout)


@command(commands, "warm", "tbcache warm AAPL MSFT", JSON, CSV)
def warm(
    symbols: Symbols,
    source: OnlySource = None,
    wait: Wait = False,
    timeout: Timeout = 60.0,
    who: Who = None,
) -> None:
    """Warm symbols in every source that is on, or in one, behind whatever somebody waits for."""
    settings = quiet_settings()
    from tbcache.fleet import warming_of

    requests = warming_of(settings, symbols, source)
    handles = act_as(who).warm(requests)
    _show(handles, wait, timeout)


#: What became of a queued fetch.
_Result = tuple[FetchRequest, Outcome | TbcacheError]


def _result_data(request: FetchRequest, found: Outcome | TbcacheError) -> dict[str, Any]:
    if isinstance(found, Outcome):
        return {"request": request_data(request), **outcome_data(found)}
    error = {"kind": type(found).__name__, "message": str(found)}
    return {"request": request_data(request), "error": error}


_STATES = {"queued": "queued", "joined": "was queued already", "hit": "is in the cache"}


def _show(handles: Sequence[Handle], wait: bool, timeout: float) -> None:
    if wait:
        _show_results(_wait(handles, timeout))
        return
    from tbcache.fleet import Queued

    columns = ("source", "symbol", "job", "state", "starts (UTC)")
    rows = ((h.request.source, h.request.symbol, h.job_id, _STATES[h.state], _start(h)) for h in handles)
    show(list(map(Queued.of, handles)), lambda: rows_table(columns, rows), columns=columns_of(Queued))


def _start(handle: Handle) -> str:
    if handle.starts_at is not None:
        return f"{handle.starts_at:%m-%d %H:%M:%S}"
    return "" if handle.state == "hit" else "?"


def _wait(handles: Sequence[Handle], timeout: float) -> list[_Result]:
    give_up = time.monotonic() + timeout
    results = list[_Result]()
    with progress("waiting for the workers", len(handles)) as tell:
        for handle in handles:
            try:
                results.append((handle.request, handle.result(max(0.0, give_up - time.monotonic()))))
            except TbcacheError as error:
                results.append((handle.request, error))
            tell(1)
    return results


def _show_results(results: Sequence[_Result]) -> None:
    """Print what came, and what did not; the first error gives the exit code."""
    outcomes = [found for _, found in results if isinstance(found, Outcome)]
    if outcomes or wants_json() or FORM.get().as_csv:
        show(
            [_result_data(*result) for result in results],
            lambda: outcome_table(outcomes, terminal_width()),
            columns=OUTCOME_COLUMNS,
            rows=map(outcome_row, outcomes),
        )
    failed = [(request, found) for request, found in results if isinstance(found, TbcacheError)]
    if not wants_json():
        from tbcache.settings import get_sources

        sources = get_sources(quiet_settings())
        for request, error in failed:
            say(failure(request, error, sources[request.source].variables))
    raise typer.Exit(exit_code(failed[0][1]) if failed else OK)
