"""What `tbcache up` shows on a terminal."""

from __future__ import annotations

import pytest

from tbcache.cli.view import LiveView
from tbcache.fleet import build_fleet
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
    view = LiveView(("try", "API", "stop"))
    view.show(build_fleet(settings, store).status(), 0)
    capsys.readouterr()
    for number in range(9):
        view.say(f"event {number}")
    page = capsys.readouterr().out
    view.close()
    last_frame = page.rpartition("the simulator refused")[2]
    assert "event 8" in last_frame
    assert ("event 5" in last_frame) is (lines == 60)
    assert ("stop" in last_frame) is (lines > 20)
