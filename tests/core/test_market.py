"""The hours of an exchange, by which what is listed is kept warm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from scheduler.leader import Leader
from scheduler.prewarm import Prewarm
from tbcache.fleet import Fleet
from tbcache.fleet.market import Market, Session, market_of
from tbcache.models import extra
from tbcache.models.error import ConfigurationError, MissingExtra
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.envelope import seal
from tests.server import Server


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_new_york_is_open_by_its_own_calendar() -> None:
    """Holidays, early closes and summer time are nobody's to remember."""
    market = market_of("XNYS")
    assert market is not None
    opened = {
        "2026-11-25 14:29": False,
        "2026-11-25 14:30": True,
        "2026-11-25 20:59": True,
        "2026-11-25 21:00": False,
        # Thanksgiving, and the half day after it.
        "2026-11-26 16:00": False,
        "2026-11-27 17:59": True,
        "2026-11-27 18:01": False,
        "2026-11-28 16:00": False,
        "2027-07-06 13:30": True,
    }
    assert {text: market.is_open(at(text)) for text in opened} == opened
    assert market.is_open(at("2026-11-25 14:20"), timedelta(minutes=10))


def test_an_exchange_that_is_not_known_is_told_with_the_nearest() -> None:
    """A typo would keep everything at rest, or awake, for ever."""
    with pytest.raises(ConfigurationError, match=r"TBCACHE_MARKET=XNYX is no exchange .* XNYS"):
        market_of("XNYX")


def test_a_market_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said with the line that installs it; without a market nothing is needed."""
    monkeypatch.setattr(extra, "has", lambda module: module != "exchange_calendars")
    assert market_of(None) is None
    with pytest.raises(MissingExtra, match=r"TBCACHE_MARKET needs exchange_calendars: .*tbcache\[calendar\]"):
        market_of("XNYS")


def test_sessions_are_read_once_a_year_and_hold_over_midnight() -> None:
    """One that began the day before is on; the calendar is asked for again before its days are over."""
    asked = list[tuple[date, date]]()

    def sessions(first: date, last: date) -> Sequence[Session]:
        asked.append((first, last))
        return [(at("2026-11-25 22:00"), at("2026-11-26 05:00"))]

    market = Market(sessions)
    assert [market.is_open(at(f"2026-11-26 0{hour}:00")) for hour in (3, 4, 5)] == [True, True, False]
    assert len(asked) == 1
    assert asked[0][0] < date(2026, 11, 25)
    assert not market.is_open(at("2027-12-20 00:00"))
    assert asked[0][1] < date(2028, 1, 20) < asked[1][1]


@pytest.mark.parametrize(("sessions", "found"), [([], []), (["open"], ["AAPL"])])
def test_what_nobody_asks_for_rests_while_the_market_is_closed(
    sessions: list[str], found: list[str], store: Store, server: Server, settings_for: Callable[..., Settings]
) -> None:
    """An answer that has expired is fetched anew in a session, and else after an hour; what is asked for
    always."""
    settings = settings_for(server, TBCACHE_COMMON_SYMBOLS="AAPL,GME")
    monitor, now = UsageMonitor(store, settings), store.clock.today
    for symbol in ("AAPL", "GME"):
        entry = seal(b"1", fresh_until_us=round(now.timestamp() * 1e6) - 1_000_000)
        store.client.set(store.keys.entry(f"stocktwits:{symbol}:24"), entry, ex=60)
    for _ in range(60):
        monitor.popularity.record("stocktwits:GME:24")
    monitor.popularity.flush()
    on = [(now - timedelta(hours=1), now + timedelta(hours=1)) for _ in sessions]
    prewarm = Prewarm(store, Queue(store, settings), settings, monitor, Market(lambda first, last: on))
    due = [one.request.symbol for one in prewarm.due() if one.request.source == "stocktwits"]
    assert due == [*found, "GME"]
    prewarm.run(Leader(store, "scheduler-1", ["stocktwits"]).take())
    sources = Fleet(settings, store).status().sources
    (resting,) = (source.resting for source in sources if source.name == "stocktwits")
    # And so no alert takes them for old.
    assert resting == 1 - len(found)
