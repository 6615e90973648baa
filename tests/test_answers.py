"""Answers of the whole pipe, against what the simulator knows to be true."""

from __future__ import annotations

from bench import answers
from bench.way import LastPages, Timelines
from tbcache.scoring import VOICES


def test_a_timeline_answers_nearer_to_the_truth_and_for_fewer_requests_than_the_last_pages() -> None:
    """What it is all for: of a busy symbol the newest pages are two hours of 24, and robots count in them."""
    now = answers.BEGIN
    ways = Timelines("stocktwits", now), LastPages("stocktwits", now)
    rules = VOICES, ()
    figures = [answers.Figures(way, each) for way, each in zip(ways, rules, strict=True)]
    for number in range(4):
        answers.refresh(ways, ("META",), number * 300.0)
    asked = [way.world.requests for way in ways]
    answers.refresh(ways, ("META",), 1200.0)
    answers.look(figures, ("META",), ways[0].world)
    ours, last = figures
    assert ours.errors < last.errors
    assert ours.precisions > last.precisions
    assert last.recalls[0] < 0.5
    assert ours.recalls[0] > 0.99
    more = [way.world.requests - before for way, before in zip(ways, asked, strict=True)]
    assert more == [1, ways[1].world.source.pages]
