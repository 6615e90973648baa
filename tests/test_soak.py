"""What the soak says of a run in which nothing was there to compare."""

from __future__ import annotations

from typing import Any

from tests import soak

NOTHING = {"requests_today": 0, "cost_today": 0.0, "accepted": 0, "refused": 0, "billed": 0.0}
SOME = {**NOTHING, "requests_today": 1, "accepted": 1}


def figures(one: dict[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(soak.SOURCES, one)


def test_a_run_without_answers_is_not_one_in_which_nothing_is_broken() -> None:
    """A demo that answers nobody must not pass for one that was checked."""
    report = soak.compare("http://nobody.invalid", figures(NOTHING), figures(NOTHING), [])
    assert report.breaks == [f"{source}: nothing was compared" for source in soak.SOURCES]


def test_failed_fetches_and_answers_that_cannot_be_checked_are_counted() -> None:
    """They were left out without a word."""
    unsure = {"source": "news", "symbol": "AAPL", "hours": 24, "complete": False, "since": None}
    asked: list[tuple[str, dict[str, Any] | None]] = [("news", None), ("news", unsure)]
    report = soak.compare("http://nobody.invalid", figures(SOME), figures(SOME), asked)
    (row,) = (row for row in report.rows if row[0] == "news")
    assert row[-4:] == ("0", "1", "1", "0")
    assert "news: no answer could be checked" in report.breaks
