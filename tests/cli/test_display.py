"""What `tbcache up` shows on a terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from tbcache.cli.dashboard import dashboard, remarks
from tbcache.cli.display import LiveDisplay
from tbcache.fleet import Fleet, LimitStatus
from tbcache.fleet.expense import Covered
from tbcache.io import utc_now
from tbcache.monitoring import RecentMetrics, SourceMetrics
from tbcache.settings import Settings
from tbcache.store import Store


@pytest.mark.parametrize("lines", [20, 24, 60])
def test_the_newest_event_is_seen_on_a_terminal_of_any_height(
    lines: int,
    settings: Settings,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What has just gone wrong must not be what is cut off."""
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "80"), ("LINES", str(lines))):
        monkeypatch.setenv(name, value)
    display = LiveDisplay(("try", "API", "stop"))
    display.show(Fleet(settings, store).status(), 0)
    capsys.readouterr()
    for number in range(9):
        display.say(f"event {number}")
    page = capsys.readouterr().out
    display.close()
    last_frame = page.rpartition("as the simulator counts them: 0")[2]
    assert "event 8" in last_frame
    assert ("event 5" in last_frame) is (lines == 60)
    assert ("stop" in last_frame) is (lines > 20)


def test_a_terminal_that_changes_its_size_is_drawn_anew(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A narrower one wraps what stands there: to go up by as many lines as before leaves some behind."""
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "150"), ("LINES", "50")):
        monkeypatch.setenv(name, value)
    display, status = LiveDisplay(()), Fleet(settings, store).status()
    frames = []
    for width in (150, 150, 80, 80):
        display._live.console.size = (width, 50)  # type: ignore[assignment]
        capsys.readouterr()
        display.show(status, None)
        frames.append(capsys.readouterr().out)
    display.close()
    assert ["\x1b[2J" in frame for frame in frames] == [False, False, True, False]
    assert ["missed" in frame for frame in frames] == [True, True, False, False]
    assert all("cost" in frame for frame in frames)


@pytest.mark.parametrize("width", [80, 81, 99, 105, 110, 113, 120, 140, 200])
def test_what_a_page_shows_fits_its_terminal_and_has_the_cost(
    settings: Settings, store: Store, width: int
) -> None:
    """A column that is cut off is worse than one that is left out, and money is never left out."""
    seen = Fleet(settings, store).status()
    usage = SourceMetrics("x", requests_today=123456, errors_today=4567, cost_today=1234.56, latency_p95=1.5)
    limits = (LimitStatus("300/15m", 300, 900.0, 299, 1, utc_now() + timedelta(hours=3)),)
    full = tuple(replace(one, usage=usage, limits=limits, state="limited") for one in seen.sources)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(dashboard(replace(seen, sources=full), width))
    lines = console.export_text().splitlines()
    (head,) = [line for line in lines if line.startswith("source ")]
    (row,) = [line for line in lines if line.startswith("stocktwits ")]
    assert "cost" in head
    assert row.rstrip().endswith("$1234.56")
    assert "\u2026" not in row
    assert "0/4567" in row


def test_a_page_says_how_much_of_a_busy_symbol_is_known_and_what_forgetting_would_cost(
    settings: Settings, store: Store
) -> None:
    """Whoever looks at a demo for a minute sees hours climb, and what they cost beside the naive way."""
    seen = Fleet(settings, store).status()
    recent = RecentMetrics("x", 300.0, cost=0.1, pages=3, naive_cost=0.25, naive_pages=14)
    covered = Covered("NVDA", 6.2, 24)
    busy = tuple(replace(one, recent=recent, busiest=covered, common=10, warm=10) for one in seen.sources)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(dashboard(replace(seen, sources=busy), 120))
    page = console.export_text()
    (row,) = [line for line in page.splitlines() if line.startswith("stocktwits ") and "/min" not in line]
    assert "NVDA 6.2/24 h" in row
    ours, naive = "$0.10, 3 requests ($1.20 an hour)", "$0.25, 14 requests ($3.00 an hour)"
    rate = f"twitter, last 5 min: {ours}; all hours anew at each TTL: {naive}"
    assert rate in " ".join(page.split())
    free = replace(
        seen, sources=tuple(replace(one, recent=RecentMetrics("x", 300.0)) for one in seen.sources)
    )
    assert not [line for line in remarks(free) if "an hour" in line]
