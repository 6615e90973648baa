"""The compact form of a timeline."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given

from tbcache.fetch.record import sentiment_of
from tbcache.models import Engagement, FetchRequest, Item
from tbcache.scoring import VOICES
from tbcache.timeline import Corrupt, Read, Record, Scored, Timeline, decode_record, encode_record
from tbcache.timeline import record as form
from tests.timeline.kit import examples, moment, seen, span, timelines

ITEM = Item(
    "9",
    moment(1),
    "text",
    author="ann",
    label="bullish",
    score=0.25,
    weight=3.0,
    kind="reply",
    url="https://example.com/9",
    lang="en",
    symbols=("AAPL", "BTC-USD"),
    engagement=Engagement(likes=-4, followers=12),
    origin="7",
    first_id="8",
    is_gone=True,
    seen_at=moment(2),
)


def _record(timeline: Timeline) -> Record:
    return Record(timeline, moment(11), moment(12), 24, "finance/1", "page_budget", search="5eed")


@pytest.mark.parametrize(("hours", "reason"), [(24, "page_budget"), (25, "not_asked")])
def test_hours_that_nobody_asked_for_are_not_said_to_be_cut_by_the_page_budget(
    hours: int, reason: str
) -> None:
    """Of the past one may ask for more hours than were asked for then."""
    record = replace(_record(Timeline()), reason=None)
    assert sentiment_of(record, FetchRequest("twitter", "AAPL", hours), VOICES).reason == reason


@examples
@given(timelines)
def test_a_record_comes_back_as_it_was(timeline: Timeline) -> None:
    """What another process reads is what this one knew, or its answers would be other ones."""
    assert decode_record(encode_record(_record(timeline))) == _record(timeline)


def test_every_field_of_an_item_comes_back() -> None:
    """A rule about voices that looks at a field must find it in every process."""
    record = _record(Timeline.of([Scored(ITEM, -0.5)]))
    assert decode_record(encode_record(record)) == record


def test_what_no_encoding_knows_is_mended() -> None:
    """A cut emoji, or a weight that is no number, must not cost the answer."""
    odd = replace(ITEM, text="cut \ud83d", weight=float("nan"), score=float("inf"))
    (found,) = decode_record(encode_record(_record(Timeline.of([Scored(odd, None)])))).timeline.versions
    assert (found.item.text, found.item.weight, found.item.score) == ("cut ?", 0.0, None)


def test_a_form_is_no_larger_than_its_bound_and_claims_no_more_than_it_holds() -> None:
    """One symbol must not fill Redis; the oldest are left out, and their time is not covered any more."""
    versions = [seen(f"{n}", n / 100, 20, f"{n * 7919 % 1009} text {n * 31 % 97}") for n in range(1000)]
    data = encode_record(_record(Timeline.of(versions, [Read(span(0, 12), moment(12))])), most_bytes=4000)
    assert len(data) <= 4000 * 4 / 3 + 20
    assert decode_record(data).reason == "full"
    kept = decode_record(data).timeline
    assert 50 < len(kept.versions) < 1000
    assert kept.versions[-1].item.id == "999"
    (covered,) = kept.coverage.spans
    left_out = versions[-len(kept.versions) - 1]
    assert left_out.at < covered.start <= kept.versions[0].at


def test_texts_that_compress_well_fit_in_what_can_be_read_back() -> None:
    """A wave of spam made a record that nobody could read, and all pages of it were paid for at each ask."""
    versions = [seen(f"{n}", n, n, "to the moon " * 3_000) for n in range(1_000)]
    timeline = decode_record(encode_record(_record(Timeline.of(versions)))).timeline
    assert 800 < len(timeline.versions) < 1_000
    assert timeline.versions[-1].item.id == "999"


def test_a_figure_that_is_none_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would make a figure of every answer that it counts in."""
    monkeypatch.setattr(form, "_finite", lambda figure: figure)
    odd = replace(ITEM, weight=float("nan"), score=float("inf"))
    data = encode_record(_record(Timeline.of([Scored(odd, float("nan"))])))
    monkeypatch.undo()
    (found,) = decode_record(data).timeline.versions
    assert (found.score, found.item.weight, found.item.score) == (None, 0.0, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"h":1,"t":"dGwwCng="}',
        b'{"h":1,"t":"dGwxCng="}',
        encode_record(_record(Timeline()))[:-9] + b'"}',
        encode_record(replace(_record(Timeline()), hours=0)),
        encode_record(replace(_record(Timeline()), hours=10**12)),
        encode_record(replace(_record(Timeline()), asked_at=moment(13))),
        encode_record(replace(_record(Timeline()), asked_at=datetime.min.replace(tzinfo=UTC))),
        encode_record(replace(_record(Timeline()), read_at=datetime.max.replace(tzinfo=UTC))),
        encode_record(_record(Timeline.of(seen(f"{n}", 1, 2, "") for n in range(20_001)))),
    ],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    """A damaged timeline counts as none, and is read anew."""
    with pytest.raises(Corrupt):
        decode_record(data)
