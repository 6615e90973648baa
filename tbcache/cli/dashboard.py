"""The dashboard: is anything wrong, with which source, until when, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tbcache.cli.output import add_row, shown
from tbcache.cli.table import plain_table
from tbcache.models.age import rough
from tbcache.models.untrusted import LINE

if TYPE_CHECKING:
    from tbcache.fleet import FleetStatus, LimitStatus, ServerStatus, SourceStatus, WorkerStatus

BAR_CELLS = 8
FORGOTTEN_SECONDS = 60.0
_STATE_STYLE = {
    "ok": "green",
    "limited": "yellow",
    "failing": "red",
    "refused": "red",
    "closed": "red",
    "paused": "yellow",
    "drained": "yellow",
    "off": "dim",
    "unknown": "dim",
}
_COLUMNS = (
    "source",
    "state",
    "used of limit",
    "frees in",
    "warm",
    "busiest",
    "asked",
    "hits",
    "missed",
    "errors",
    "p95",
    "queue",
    "cost",
)
#: The columns that a narrow terminal leaves out, in that order; then the bars shrink.
_WIDE_ONLY = ("missed", "frees in", "p95", "hits", "asked", "busiest")
_LEFT = ("source", "state", "used of limit")
#: Figures of the last minutes, and of the day.
_PAIRS = ("asked", "errors")
_UNBOUNDED = 10_000
MOST_TROUBLES = 5
NOBODY = "no process was heard of within the last minute: settings shown are this shell's"
UNHEARD = "which processes run is not known until Redis is back"
NO_SETTINGS = "no process has told its settings: those shown are this shell's"


def dashboard(status: FleetStatus, width: int, extra: Iterable[RenderableType] = ()) -> RenderableType:
    """The whole status, ``width`` characters wide; ``extra`` comes below."""
    return Group(
        _headline(status),
        Text(),
        _source_table(status, width),
        *(shown(line, "dim") for line in remarks(status)),
        Text(),
        _worker_table(status.workers) if status.server.is_available else Text(UNHEARD, style="dim"),
        *extra,
    )


def summary(status: FleetStatus, refused: int | None = None) -> str:
    """The same in one line, for logs."""
    if not status.server.is_available:
        return "; ".join(status.lines)
    on = [source for source in status.sources if source.is_enabled]
    today, workers = status.today, len(status.living("worker"))
    parts = [
        f"{sum(source.warm or 0 for source in on)}/{sum(source.common for source in on)} warm",
        f"{today.requests} asked today",
        f"{today.cache_hit_rate:.0%} hits" if today.requests else "no hits yet",
        _count(today.errors, "error"),
        f"{sum(source.queued for source in status.sources)} waiting",
        _count(workers, "worker"),
        f"{status.busy} of {status.threads} threads busy",
        f"${today.cost:.2f}",
    ]
    parts += [f"{source.name} {source.state}" for source in on if source.state != "ok"]
    parts += [] if refused is None else [f"{refused} over a limit of the simulator's"]
    return ", ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def off_lines(status: FleetStatus) -> list[str]:
    """A line for each source that is off: which variables turn it on."""
    return [source.why_off for source in status.sources if source.why_off is not None]


def delays(status: FleetStatus) -> list[str]:
    """Which sources cannot be kept warm, as their plan's items come too late; a line each."""
    return [
        f"{source.name}: its plan's items come {source.delay_hours:g} h late, too late to be kept warm"
        for source in status.sources
        if source.delay_hours
    ]


def expenses(status: FleetStatus) -> list[str]:
    """What a day of each source comes to that costs money without a budget; a line each."""
    from tbcache.settings import variable

    return [
        f"{source.name}: a day comes to about ${source.day_cost:,.2f} at the present rate, and "
        f"{variable(source.name, 'daily_budget')} is not set: older hours are not filled"
        for source in status.sources
        if source.day_cost is not None
    ]


def rates(status: FleetStatus) -> list[str]:
    """What an hour of each source costs that costs money, at the rate of the last minutes, and what it would
    cost whoever fetches all hours anew each time an answer is out of date; a line each."""
    return [line for source in status.sources if (line := _rate(source)) is not None]


def _rate(source: SourceStatus) -> str | None:
    recent = source.recent
    if recent is None or not recent.naive_cost:
        return None
    seconds = max(recent.seconds, 60.0)

    def said(dollars: float, requests: int) -> str:
        return f"${dollars:,.2f}, {requests:,} requests (${dollars * 3600 / seconds:,.2f} an hour)"

    ours, naive = said(recent.cost, recent.pages), said(recent.naive_cost, recent.naive_pages)
    return f"{source.name}, last {seconds / 60:.0f} min: {ours}; all hours anew at each TTL: {naive}"


def remarks(status: FleetStatus) -> list[str]:
    """What is no trouble, and explains what is shown."""
    lacks_settings = (
        status.server.is_available and not status.is_told and any(map(_is_recent, status.workers))
    )
    no_settings = [NO_SETTINGS] if lacks_settings else []
    return [
        *no_settings,
        *off_lines(status),
        *status.denied,
        *differences(status),
        *delays(status),
        *status.shortages,
        *expenses(status),
        *rates(status),
    ]


def differences(status: FleetStatus) -> list[str]:
    """Where the fleet goes by other limits than this shell."""
    return [line for source in status.sources if (line := source.difference) is not None]


def _headline(status: FleetStatus) -> Text:
    server = status.server
    if not server.is_available:
        return Text("\n").join(shown(line, "bold red", LINE) for line in status.lines)
    head = Text.assemble(("tbcache  ", "bold"), shown(_server(server)))
    return Text("\n").join((head, *_findings(status)))


def _findings(status: FleetStatus) -> Iterator[Text]:
    """A line that says that all is well, or what is not."""
    for line in status.lines[:MOST_TROUBLES]:
        yield shown(line, "yellow", LINE)
    if (more := len(status.troubles) - MOST_TROUBLES) > 0:
        yield shown(f"and {more} more: `tbcache status --check` lists all", "yellow")
    if status.is_starting:
        yield shown("starting: no worker has been heard of yet", "dim")
    elif not status.troubles:
        yield shown("all is well", "green")


def _server(server: ServerStatus) -> str:
    parts = [f"{server.version or 'Redis'} at {server.address}"]
    parts += [] if server.uptime_seconds is None else [f"up {rough(server.uptime_seconds)}"]
    parts += [] if server.memory_bytes is None else [f"{server.memory_bytes / 1e6:.1f} MB"]
    return ", ".join(parts)


def _source_table(status: FleetStatus, width: int) -> Table:
    """All columns that there is room for; what is wrong and what it costs is always shown."""
    steps = [(BAR_CELLS, _WIDE_ONLY[:count]) for count in range(len(_WIDE_ONLY) + 1)]
    for cells, left_out in (*steps, (BAR_CELLS // 2, _WIDE_ONLY), (0, _WIDE_ONLY)):
        table = _sources(status, cells, left_out)
        if _width(table) <= width:
            break
    return table


def _sources(status: FleetStatus, bar_cells: int, left_out: Sequence[str]) -> Table:
    rows = [_row(source, status.at, bar_cells) for source in status.sources]
    columns = [name for name in _COLUMNS if name not in left_out]
    table = plain_table(*map(_heading, columns), folds_last=False)
    for row in rows:
        add_row(table, *(row[name] for name in columns))
    return table


def _heading(name: str) -> str:
    side = "" if name in _LEFT else ">"
    return f"{side}{name} 5m/day" if name in _PAIRS else f"{side}{name}"


def _width(table: Table) -> int:
    console = Console(width=_UNBOUNDED)
    return Measurement.get(console, console.options, table).maximum


def _row(source: SourceStatus, now: datetime, bar_cells: int) -> Mapping[str, str | Text]:
    """A dash for what is not known while Redis is away."""
    row: dict[str, str | Text] = dict.fromkeys(_COLUMNS, Text("-", style="dim"))
    row["source"], row["state"] = source.name, Text(source.state, style=_STATE_STYLE[source.state])
    return {**row, **_figures(source, now, bar_cells)}


def _figures(source: SourceStatus, now: datetime, bar_cells: int) -> Mapping[str, str | Text]:
    usage, recent, queue = source.usage, source.recent, source.queue
    if usage is None or recent is None or queue is None:
        return {}
    return {
        "used of limit": Text("\n").join(_bar(limit, bar_cells) for limit in source.limits),
        "frees in": Text("\n").join(shown(_until(limit.reset_at, now)) for limit in source.limits),
        "warm": _warm(source),
        "busiest": _busiest(source),
        "asked": f"{recent.requests}/{usage.requests_today}",
        "hits": f"{usage.cache_hit_rate:.0%}" if usage.requests_today else "-",
        "missed": str(usage.misses_today),
        "errors": _errors(recent.errors, usage.errors_today),
        "p95": f"{usage.latency_p95 * 1000:.0f} ms" if usage.latency_p95 is not None else "-",
        "queue": f"{source.queued}+{queue.running}",
        "cost": f"${usage.cost_today:.2f}" if usage.cost_today else "-",
    }


def _errors(recent: int, today: int) -> Text:
    return Text(f"{recent}/{today}", style="red" if recent else "yellow" if today else "")


def _worker_table(workers: Iterable[WorkerStatus]) -> RenderableType:
    recent = list(filter(_is_recent, workers))
    if not recent:
        return Text(NOBODY, style="dim")
    table = plain_table("process", ">busy", ">last beat", "doing")
    for worker in recent:
        add_row(
            table,
            shown(worker.name, "red" if worker.is_missed else ""),
            f"{worker.busy}/{worker.threads}" if worker.threads else "-",
            f"{rough(worker.age)} ago",
            ", ".join(worker.doing) or (worker.role if worker.is_alive else "gone"),
        )
    return table


def _is_recent(worker: WorkerStatus) -> bool:
    return worker.age < FORGOTTEN_SECONDS


def _bar(limit: LimitStatus, cells: int) -> Text:
    used = limit.used or 0
    part = min(1.0, used / limit.count)
    filled = round(part * cells) or (1 if used and cells else 0)
    style = "red" if part >= 1 else "yellow" if part >= 0.9 else "green"
    bar = Text("█" * filled, style=style)
    bar.append("░" * (cells - filled) + " " * (cells > 0), style="dim")
    bar.append(f"{used} of {limit.limit}", style="default")
    return bar


def _until(moment: datetime | None, now: datetime) -> str:
    return "-" if moment is None else rough(max(0.0, (moment - now).total_seconds()))


def _busiest(source: SourceStatus) -> Text:
    """The symbol of which most items come, with how much of its hours is known."""
    found = source.busiest
    if found is None or not source.common:
        return Text("-", style="dim")
    style = "green" if found.covered_hours >= found.hours else "yellow"
    return shown(f"{found.symbol} {found.covered_hours:g}/{found.hours} h", style)


def _warm(source: SourceStatus) -> Text:
    if source.state in ("off", "unknown") or not source.common:
        return Text("-", style="dim")
    return Text(f"{source.warm}/{source.common}", style="green" if source.warm == source.common else "yellow")
