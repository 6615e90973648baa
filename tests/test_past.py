"""What would have been answered in the past: to the byte what was answered, and nothing that came later."""

from __future__ import annotations

import importlib
import math
import types
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.past import Days, Hashed, MadeUp
from tbcache.fetch.history import answered, looked_back, unknown
from tbcache.fetch.reader import Fetched
from tbcache.fetch.record import extended, rescored, sentiment_of
from tbcache.models import FetchRequest, History, Item, Kind, Point, SymbolSentiment
from tbcache.models.error import ConfigurationError, InvalidRequest
from tbcache.models.history import COLUMNS, MOST_POINTS, moments
from tbcache.providers import get_provider
from tbcache.repository import Answer, SentimentRepository, decode_answer, encode_answer
from tbcache.scoring import VOICES, name_of
from tbcache.scoring.voices import repetition
from tbcache.scoring.voices.sketch import words_of
from tbcache.timeline import PRIVATE, Load, Past, Read, Record, Scored, Span
from tests.test_repository import answer
from tests.timeline.kit import moment, seen, span

NOW = datetime(2026, 7, 28, 12, tzinfo=UTC)


@pytest.fixture
def repository(database_url: str) -> Iterator[SentimentRepository]:
    made = SentimentRepository(database_url, busy_timeout=20)
    yield made
    made.close()


def test_random_moments_are_answered_as_they_were(repository: SentimentRepository) -> None:
    """A backtest that sees more than the bot saw earns money that nobody can earn."""
    days = Days(repository, days=0.45, seed=7)
    days.record()
    assert days.loads > 40
    assert [what for what in days.differences(100) if what] == []


def test_a_load_is_told_of_from_when_its_answer_could_be_had() -> None:
    """A backtest was told the news of it seconds before any bot. An answer is found by its own ``as_of``."""
    second = timedelta(seconds=1)
    old, slow, last = (Load(NOW + n * second, NOW, NOW, 24, "any/1") for n in range(3))
    slow, last = (replace(one, stored_at=NOW + n * second) for one, n in ((slow, 5), (last, 9)))
    past = Past([last, slow, old], [])
    told = [past.last(NOW + n * second / 2) for n in (1, 3, 9, 10, 17, 18)]
    assert [load and load.read_at for load in told] == [NOW, NOW, NOW, *[slow.read_at] * 2, last.read_at]
    assert [past.last(load.read_at) for load in (old, slow, last)] == [past.last(NOW), told[3], told[5]]


@pytest.mark.parametrize(("kind", "voices"), [("article", 0.0), ("post", 1.0)])
def test_what_was_told_on_friday_is_no_voice_on_monday_live_nor_in_the_past(
    repository: SentimentRepository, kind: Kind, voices: float
) -> None:
    """A story goes from site to site for days. Two people who say the same are two people."""
    upstream, request = MadeUp(), FetchRequest("news", "AAPL", 1)
    # Its time is ahead of when it was seen, as that of a wrong zone is.
    told = Item("1", NOW, "Carmaker recalls nine thousand trucks over a loose bolt", kind=kind)
    again = replace(told, id="2", at=NOW + timedelta(hours=71, minutes=30))
    first = loaded(repository, None, told, NOW - timedelta(hours=5), request)
    last = loaded(repository, first, again, NOW + timedelta(hours=72), request)
    live = sentiment_of(last, request, VOICES)
    assert (live.count, live.voices, last.reason) == (1, voices, None)
    assert answered(repository, upstream, request, [live.as_of]) == [live]
    (hindsight,) = looked_back(repository, upstream, request, [live.as_of])
    assert hindsight is not None
    assert (hindsight.count, hindsight.voices) == (1, voices)
    (longer,) = looked_back(repository, upstream, replace(request, hours=24), [live.as_of])
    assert longer is not None
    assert longer.reason == "not_asked"


def test_a_text_is_looked_at_once_in_a_history(
    repository: SentimentRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A week by the quarter of an hour looks 672 times at the posts of each day."""
    request, record, seen = FetchRequest("news", "AAPL", 24), None, list[str]()
    story = Item("1", NOW, "Carmaker recalls nine thousand trucks over a loose bolt", kind="article")
    for hour in range(3):
        record = loaded(repository, record, story, NOW + timedelta(hours=hour), request)
    monkeypatch.setattr(repetition, "words_of", lambda text: seen.append(text) or words_of(text))
    moments = [NOW + timedelta(hours=hour, minutes=30) for hour in range(3)]
    answers = answered(repository, MadeUp(), request, moments)
    assert len({answer.as_of for answer in answers if answer is not None}) == 3
    assert seen == [story.text]


def test_nothing_is_told_of_hours_of_which_a_part_is_not_kept(
    repository: SentimentRepository,
) -> None:
    """Near the end of what is kept a tenth of the items made another score."""
    request, records = FetchRequest("twitter", "AAPL", 1), list[Record]()
    for day in range(4):
        at = NOW + timedelta(days=day)
        records.append(
            loaded(repository, records[-1] if records else None, Item(f"{day}", at, "post"), at, request)
        )
    moments = [record.read_at for record in records]
    live = [sentiment_of(record, request, VOICES) for record in records]
    assert answered(repository, MadeUp(), request, moments) == live
    assert repository.remove_older(NOW + timedelta(days=1, hours=12), 100)
    # The days before, with which the volume is compared, are not there any more.
    found = [
        each and replace(each, volume=live[3].volume)
        for each in answered(repository, MadeUp(), request, moments)
    ]
    assert found == [None, None, None, live[3]]
    assert "is not kept" in unknown(repository, request, hindsight=False)


def test_no_score_of_the_past_is_said_to_be_of_another_scorer(repository: SentimentRepository) -> None:
    """In a rolling upgrade both versions load: what the one has rated, the other has rated as well, and the
    database has one score of each."""
    one, two, three = (MadeUp(Hashed(version)) for version in "123")
    request, records = FetchRequest("twitter", "AAPL", 24), list[Record]()
    for hour, upstream in enumerate((one, one, two, one)):
        at = NOW + timedelta(hours=hour)
        item = Item(str(hour), at, f"post {hour}")
        records.append(loaded(repository, records[-1] if records else None, item, at, request, upstream))
    moments = [record.read_at for record in records]
    for upstream in (one, two, three):
        # What one scorer has rated alone is told as it was, and the rest as it is rated now.
        mixed = [rescored(record, upstream.analyzer, "AAPL") for record in records[2:]]
        then = [sentiment_of(record, request, VOICES) for record in (*records[:2], *mixed)]
        assert answered(repository, upstream, request, moments) == then


def test_no_answer_of_the_past_names_a_scorer_that_was_one_bots_alone(
    repository: SentimentRepository,
) -> None:
    """Also where there was nothing to score."""
    request, upstream = FetchRequest("twitter", "AAPL", 24), MadeUp()
    fetched = Fetched((), (), 1, (Span(NOW - timedelta(hours=24), NOW),), None, None, (), NOW)
    found = extended(None, fetched, request, Hashed("1"), lambda: NOW)
    private = replace(found.load, scorer=found.load.scorer + PRIVATE)
    repository.save([Answer(sentiment_of(found.record, request, VOICES), (), found.reads, private)])
    (answer,) = answered(repository, upstream, request, [NOW])
    assert answer is not None
    assert answer.scorer == name_of(upstream.analyzer)


def loaded(
    repository: SentimentRepository,
    known: Record | None,
    item: Item,
    at: datetime,
    request: FetchRequest,
    upstream: MadeUp | None = None,
) -> Record:
    """The record after a load at ``at`` that brought ``item``; the database has it as well."""
    fetched = Fetched((item,), (item,), 1, (Span(at - timedelta(hours=1), at),), None, None, (), at)
    found = extended(known, fetched, request, (upstream or MadeUp()).analyzer, lambda: at)
    answer = sentiment_of(found.record, request, VOICES)
    repository.save([Answer(answer, found.news, found.reads, found.load)])
    return found.record


def load(read_at: float, after: float | None = None, kept_from: float = -60.0) -> Load:
    at = moment(read_at)
    return Load(at, at, moment(kept_from), 1, "any/1", None if after is None else moment(after))


def known(past: Past, at: float, *versions: Scored) -> list[str]:
    last = past.last(moment(at))
    assert last is not None
    return [f"{each.item.id}{each.item.text}" for each in past.record(last, versions, 24).timeline.versions]


def test_nothing_is_known_before_it_was_seen_and_nothing_after_it_was_replaced() -> None:
    """An edit of an hour later must not be read in the answer of before it."""
    past = Past([load(1), load(2, 1), load(3, 2)], [Read(span(0, 1), moment(1))])
    versions = seen("a", 0, 1, "-first"), seen("b", 0, 2), seen("a", 0, 3, "-edited")
    assert known(past, 1.5, *versions) == ["a-first"]
    assert known(past, 2, *versions) == ["a-first", "b"]
    assert known(past, 9, *versions) == ["a-edited", "b"]
    assert past.last(moment(0.9)) is None


def test_what_was_known_before_a_clear_is_not_known_after_it() -> None:
    """The bot began anew as well, with the little that its next fetch brought."""
    past = Past([load(1), load(2)], [Read(span(0, 1), moment(1)), Read(span(1, 2), moment(2))])
    versions = seen("a", 0, 1), seen("b", 1, 2)
    assert known(past, 2, *versions) == ["b"]
    last = past.last(moment(2))
    assert last is not None
    assert past.record(last, versions, 24).timeline.coverage.spans == (span(1, 2),)


def test_of_two_loads_at_once_one_alone_went_on() -> None:
    """The other gave its answer, and Redis kept nothing of it."""
    past = Past([load(1), load(2, 1), load(3, 1)], [])
    assert known(past, 2, seen("a", 0, 2), seen("b", 0, 3)) == ["a"]
    assert known(past, 3, seen("a", 0, 2), seen("b", 0, 3)) == ["b"]


def test_what_a_record_left_out_stays_out() -> None:
    """It was too old, or did not fit: answers of more hours than were kept had not it either."""
    past = Past([load(5), load(6, 5, kept_from=3), load(7, 6)], [Read(span(0, 5), moment(5))])
    versions = seen("old", 2, 5), seen("new", 4, 5), seen("found", 2, 7)
    assert known(past, 5, *versions) == ["old", "new"]
    assert known(past, 7, *versions) == ["found", "new"]
    last = past.last(moment(7))
    assert last is not None
    assert past.record(last, versions, 24).timeline.coverage.spans == (span(3, 5),)


def test_a_record_that_was_forgotten_is_not_known() -> None:
    """Redis keeps a timeline for 7 days: a week of holidays later the bot got no answer from it."""
    assert Past([load(1)], []).last(moment(1) + timedelta(days=8)) is None


def test_a_load_goes_the_way_to_the_database_whole(repository: SentimentRepository) -> None:
    """Through JSON and back, or a restart of the writer would lose the past."""
    written = Load(NOW, NOW, NOW, 24, "any/1", NOW - timedelta(hours=1), "budget", {1983600: 4})
    sent = replace(answer(Item("1", NOW, "x", seen_at=NOW)), load=written)
    assert decode_answer(encode_answer(sent)) == sent
    repository.save([sent, sent])
    assert repository.loads("twitter", "aapl", NOW, NOW) == [written]
    assert [version.item for version, _ in repository.versions("twitter", "AAPL", NOW, NOW)] == [
        Item("1", NOW, "x", seen_at=NOW)
    ]


# Moments


def test_the_moments_of_a_history_are_its_start_and_every_step_after_it() -> None:
    """A chart of a day by the hour has 25 points."""
    assert moments(NOW, NOW + timedelta(hours=2), 3600) == [NOW + timedelta(hours=n) for n in range(3)]
    assert moments(NOW, NOW + timedelta(hours=2), timedelta(minutes=90))[-1] == NOW + timedelta(minutes=90)


@pytest.mark.parametrize(
    ("start", "end", "every", "what"),
    [
        (NOW.replace(tzinfo=None), NOW, 60, "start .* needs a zone"),
        (NOW, "2026-07-28", 60, "end .* needs a zone"),
        (NOW, NOW - timedelta(1), 60, "end .* UTC lies before start .* UTC"),
        (NOW, NOW, 0, "every 0 should be a second or more"),
        (NOW, NOW, float("nan"), "every nan should be seconds, like 3600"),
        (NOW, NOW, float("inf"), "every inf should be seconds"),
        (NOW, NOW, "1h", "every '1h' should be seconds"),
        (NOW, NOW, True, "every True should be seconds"),
        (NOW.replace(year=1), NOW, 60, "start .* must be of the years 1971 to 9000"),
        (NOW - timedelta(seconds=MOST_POINTS), NOW, 1, "at most 100000"),
    ],
)
def test_a_history_of_nonsense_is_refused(start: Any, end: Any, every: float, what: str) -> None:
    """A date without a zone is hours wrong, and nobody would notice."""
    with pytest.raises(InvalidRequest, match=what):
        moments(start, end, every)


def test_nothing_is_answered_of_a_time_to_come() -> None:
    """A date in another zone that says it is UTC would get an answer that nobody was given."""
    provider = get_provider("stocktwits")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(InvalidRequest, match=r"as_of .* UTC is still to come: it is .* UTC now"):
        provider.get_sentiment("AAPL", as_of=tomorrow)
    with pytest.raises(InvalidRequest, match=r"end .* is still to come"):
        provider.history("AAPL", tomorrow - timedelta(days=2), tomorrow, 3600)


# Frames

HISTORY = History(
    "twitter",
    "AAPL",
    24,
    (
        Point(NOW, None),
        Point(
            NOW + timedelta(hours=1),
            SymbolSentiment("twitter", "AAPL", 24, 0.5, 3, 2, 1, 0, NOW, True, None, "any/1"),
        ),
    ),
)


def test_a_history_is_a_sequence_and_rows() -> None:
    """It is looked at in a loop, or as a table."""
    assert [point.sentiment and point.sentiment.score for point in HISTORY] == [None, 0.5]
    assert HISTORY[-1].at == NOW + timedelta(hours=1)
    first, last = HISTORY.rows()
    assert tuple(first) == tuple(last) == COLUMNS
    assert (first["score"], last["score"], last["covered_hours"]) == (None, 0.5, 24.0)


@pytest.mark.parametrize("installed", [("pandas", "polars"), ("polars",), ()])
def test_a_frame_is_of_whichever_is_there(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...]
) -> None:
    """Neither becomes a dependency, and who has neither is told what to do."""

    def found(name: str) -> Any:
        if name not in installed:
            raise ImportError(name)
        return types.SimpleNamespace(
            DataFrame=lambda columns, schema_overrides=None: (name, columns, schema_overrides),
            to_datetime=lambda values, utc: values,
            Datetime=lambda unit, zone: (unit, zone),
            Int64="int",
            Float64="float",
            Boolean="bool",
            String="text",
        )

    monkeypatch.setattr(importlib, "import_module", found)
    if not installed:
        with pytest.raises(ConfigurationError, match="pandas or polars"):
            HISTORY.frame()
        return
    name, columns, types_ = HISTORY.frame()
    assert name == installed[0]
    assert set(types_ or COLUMNS) == set(COLUMNS)
    # Else a column of None alone would be one of objects, with which nothing can be reckoned.
    unknown, score = columns["score"]
    assert (unknown is None, score) == (name == "polars", 0.5)
    assert unknown is None or math.isnan(unknown)
    assert tuple(columns) == COLUMNS
