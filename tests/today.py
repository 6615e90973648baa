"""The server's day, for tests that must not see midnight pass, or that want another."""

from __future__ import annotations

from datetime import datetime

import pytest

from tbcache.store.clock import ServerClock
from tbcache.store.wire import day_of


def set_today(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """Have every process see the server at ``moment``, as far as its calendar goes."""
    monkeypatch.setattr(ServerClock, "today", moment)
    monkeypatch.setattr(ServerClock, "day", day_of(moment))
