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
EXPLAIN_EXAMPLE = "Example: tbcache queue explain 0d5e63a2-6d7b-4b0f-9d2f-3b1a9f2c4e11"


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
    handles = fleet.enqueue_many(requests, "interactive", caller)
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
    handles = fleet.enqueue_many(requests, "prewarm")
    _show(handles, wait, timeout, as_json)


def explain(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job, as `tbcache enqueue` names it.")],
    queue: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its queue, where that is none of a source's.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show where a job stands, which limit it waits for, and when it will start."""
    found = require_redis(quiet_settings()).explain(job, queue)
    if wants_json(as_json):
        print_json(found)
    else:
        say(str(found))


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
    found = {"job_id": handle.job_id, "is_new": handle.is_new, "state": handle.state}
    return {**asked, **found, "starts_at": handle.starts_at}


def _show(handles: Sequence[Handle], wait: bool, timeout: float, as_json: bool) -> None:
    if wait:
        _show_results(_wait(handles, timeout), as_json)
    elif wants_json(as_json):
        print_json([_handle_data(handle) for handle in handles])
    else:
        rows = ((h.request.source, h.request.symbol, h.job_id, _STATES[h.state], _start(h)) for h in handles)
        print_table(rows_table(("source", "symbol", "job", "state", "starts (UTC)"), rows))


def _start(handle: Handle) -> str:
    if handle.starts_at is not None:
        return f"{handle.starts_at:%m-%d %H:%M:%S}"
    return "" if handle.state == "hit" else "?"


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
