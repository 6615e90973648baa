"""Asks are counted exactly, whoever counts meanwhile, and whoever collects what was counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from tbcache.monitoring import monitor_of
from tbcache.monitoring.ask_count import AskCounts
from tbcache.store import Store
from tbcache.store.clock import ServerClock
from tests.stand_in import Monitor

EACH, THREADS = 5_000, 4


class Figures:
    """What has been counted, what of it for how many asks of a key, and how often somebody was to collect."""

    def __init__(self) -> None:
        self.hits, self.asked = Counter[str](), Counter[str]()
        self.wakes, self.today, self.days = threading.Semaphore(0), 1, list[int | None]()

    def count(self, source: str, figures: Mapping[str, int], day: int | None) -> None:
        self.hits[source] += figures["hit"]
        self.days.append(day)

    def record(self, key: str, by: int = 1) -> None:
        self.asked[key] += by


def counts_of(figures: Figures) -> AskCounts:
    return AskCounts(  # type: ignore[arg-type]
        figures, Monitor(), figures.count, figures.wakes.release, lambda: figures.today
    )


def test_hits_are_those_of_the_day_on_which_they_were(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the last second before midnight were the next day's."""
    figures = Figures()
    counts = counts_of(figures)
    for today in (1, 2):
        figures.today = today
        counts.record_in_memory("news")
        figures.today = today + 1
        counts.collect()
    assert figures.days == [1, 2]
    monitor, late = monitor_of(store), datetime(2026, 1, 2, 23, 59, 59, 750_000, tzinfo=UTC)
    monkeypatch.setattr(ServerClock, "today", late)
    assert monitor._recorder._pause() == 0.25, "they are collected as the day ends"
    monkeypatch.setattr(ServerClock, "today", late - timedelta(seconds=1))
    assert monitor._recorder._pause() == 1.0


def test_every_hit_in_memory_is_counted_once_by_whoever_is_woken_for_it() -> None:
    """Four threads ask as fast as they can; another collects when it is woken, and not else."""
    figures = Figures()
    counts, is_over = counts_of(figures), threading.Event()

    def ask(number: int) -> None:
        for _ in range(EACH):
            counts.record_in_memory(f"news:S{number}:24")
            counts.record_in_memory("reddit")

    def collect() -> None:
        while True:
            if figures.wakes.acquire(timeout=0.01):
                counts.collect()
            elif is_over.is_set():
                return

    collector = threading.Thread(target=collect)
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(THREADS)]
    for thread in (collector, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    is_over.set()
    collector.join()
    assert figures.hits == {"news": EACH * THREADS, "reddit": EACH * THREADS}
    assert figures.asked == {f"news:S{number}:24": EACH for number in range(THREADS)}


def test_who_is_awaited_is_woken_once() -> None:
    """A thousand hits are one reason to send figures."""
    figures = Figures()
    counts = counts_of(figures)
    for _ in range(1000):
        counts.record_in_memory("news")
    assert figures.wakes._value == 1
    counts.collect()
    counts.record_in_memory("news")
    assert figures.wakes._value == 2


def test_what_comes_while_hits_are_collected_is_another_reason() -> None:
    """Otherwise it would wait for the next ask, which may be the next day's."""
    figures = Figures()

    def count(source: str, found: Mapping[str, int], day: int | None) -> None:
        figures.count(source, found, day)
        if source == "news":
            counts.record_in_memory("reddit")

    counts = AskCounts(figures, Monitor(), count, figures.wakes.release, lambda: 1)  # type: ignore[arg-type]
    counts.record_in_memory("news")
    while figures.wakes.acquire(blocking=False):
        counts.collect()
    assert figures.hits == {"news": 1, "reddit": 1}
