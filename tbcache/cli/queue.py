"""``tbcache enqueue`` and ``tbcache warm``: work for the fleet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from tbcache.cli.context import quiet_settings, require_redis
from tbcache.cli.error import OK, exit_code, failure, say
from tbcache.cli.option import AsJson, DataDir, Hours, SourceName, Symbols, Timeout, Wait
from tbcache.cli.output import outcome_data, print_json, print_table, request_data, terminal_width, wants_json
from tbcache.cli.table import outcome_table, rows_table
from tbcache.fleet import Handle
from tbcache.models import FetchRequest, Outcome
from tbcache.models.error import TbcacheError
from tbcache.settings import get_source, get_sources

ENQUEUE_EXAMPLE = "Example: tbcache enqueue twitter AAPL MSFT --wait"
WARM_EXAMPLE = "Example: tbcache warm AAPL MSFT"


def enqueue(
    source: SourceName,
    symbols: Symbols,
    hours: Hours = 24,
    wait: Wait = False,
    timeout: Timeout = 60.0,
    caller: Annotated[
        str | None, typer.Option(metavar="NAME", help="In whose name; else as TBCACHE_CALLER says.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Queue fetches for the workers, and print what became of them with --wait."""
    settings = quiet_settings()
    known = get_source(source, settings)
    # All are checked before the first is queued.
    requests = [known.request(symbol, hours) for symbol in symbols]
    known.require()
    fleet = require_redis(settings)
    handles = [fleet.enqueue(request, "interactive", caller) for request in requests]
    _show(handles, wait, timeout, as_json)


def warm(
    symbols: Symbols,
    wait: Wait = False,
    timeout: Timeout = 60.0,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Warm symbols in every source that is on, behind whatever somebody waits for."""
    settings = quiet_settings()
    requests = [
        source.request(symbol, min(settings.common_hours, source.max_hours))
        for symbol in symbols
        for source in get_sources(settings).values()
        if source.is_enabled
    ]
    fleet = require_redis(settings)
    handles = [fleet.enqueue(request, "prewarm") for request in requests]
    _show(handles, wait, timeout, as_json)


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of a queued fetch: an outcome or an error."""

    request: FetchRequest
    outcome: Outcome | None = None
    error: TbcacheError | None = None

    def to_data(self) -> dict[str, Any]:
        error = {"kind": type(self.error).__name__, "message": str(self.error)} if self.error else None
        if self.outcome is None:
            return {"request": request_data(self.request), "error": error}
        return outcome_data(self.outcome)


_STATES = {"queued": "queued", "joined": "was queued already", "hit": "is in the cache"}


def _handle_data(handle: Handle) -> dict[str, Any]:
    asked = request_data(handle.request)
    return {**asked, "job_id": handle.job_id, "is_new": handle.is_new, "state": handle.state}


def _show(handles: Sequence[Handle], wait: bool, timeout: float, as_json: bool) -> None:
    if wait:
        _show_results(_wait(handles, timeout), as_json)
    elif wants_json(as_json):
        print_json([_handle_data(handle) for handle in handles])
    else:
        rows = ((h.request.source, h.request.symbol, h.job_id, _STATES[h.state]) for h in handles)
        print_table(rows_table(("source", "symbol", "job", "state"), rows))


def _wait(handles: Sequence[Handle], timeout: float) -> list[_Result]:
    give_up = time.monotonic() + timeout
    results = []
    for handle in handles:
        try:
            outcome = handle.result(max(0.0, give_up - time.monotonic()))
            results.append(_Result(handle.request, outcome))
        except TbcacheError as error:
            results.append(_Result(handle.request, error=error))
    return results


def _show_results(results: Sequence[_Result], as_json: bool) -> None:
    """Print what came, and what did not; the first error gives the exit code."""
    if wants_json(as_json):
        print_json([result.to_data() for result in results])
    else:
        _show_table(results)
    errors = [result.error for result in results if result.error is not None]
    raise typer.Exit(exit_code(errors[0]) if errors else OK)


def _show_table(results: Sequence[_Result]) -> None:
    outcomes = [result.outcome for result in results if result.outcome is not None]
    if outcomes:
        print_table(outcome_table(outcomes, terminal_width()))
    sources = get_sources(quiet_settings())
    for result in results:
        if result.error is not None:
            say(failure(result.request, result.error, sources[result.request.source].variables))
