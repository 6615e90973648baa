"""Timelines of a few moments and a few items, so that they often meet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tbcache.models import Item
from tbcache.timeline import Coverage, Read, Scored, Span, Timeline

START = datetime(2026, 7, 28, tzinfo=UTC)


def moment(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def span(start: float, end: float) -> Span:
    return Span(moment(start), moment(end))


def seen(id: str, at: float | None, seen_at: float, text: str = "", score: float | None = None) -> Scored:
    item = Item(id, None if at is None else moment(at), text, seen_at=moment(seen_at))
    return Scored(item, score)


minutes = st.integers(0, 12)
spans = st.builds(span, minutes, minutes)
coverages = st.lists(spans, max_size=6).map(Coverage.of)
versions = st.builds(
    seen,
    st.sampled_from("abcd"),
    st.one_of(st.none(), minutes),
    minutes,
    st.sampled_from(["up", "down"]),
    st.sampled_from([None, -0.5, 0.5]),
)
reads = st.builds(Read, spans, minutes.map(moment))
timelines = st.builds(Timeline.of, st.lists(versions, max_size=8), st.lists(reads, max_size=4))

#: How quickly examples are made says nothing on a busy machine.
examples = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
