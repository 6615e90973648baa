"""What a page may hold, whoever has parsed it."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import pytest

from tbcache.fetch.page import MAX_AUTHOR, MAX_CURSOR, MAX_ID, MAX_ITEMS, MAX_TEXT, parse_page
from tbcache.io import utc_now
from tbcache.models import Engagement, Item, Page, RateHint, RawResponse
from tbcache.models.error import UpstreamPayloadError

ITEM = Item("1", utc_now(), "up we go", author="me")
ANSWER = RawResponse(200, {}, b"")


class Wordless(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _read(page: Page | Exception) -> Page:
    def parse(response: RawResponse) -> Page:
        if isinstance(page, Exception):
            raise page
        return page

    return parse_page("mine", parse, ANSWER)


def test_a_page_of_ordinary_size_is_left_as_it_is() -> None:
    """The bounds are for what nobody sends in good faith."""
    page = Page((ITEM, replace(ITEM, id="i" * MAX_ID, text="t" * MAX_TEXT)), next="c" * MAX_CURSOR)
    assert _read(page) == page
    assert len(_read(Page((ITEM,) * MAX_ITEMS)).items) == MAX_ITEMS


def test_a_page_of_too_many_items_is_refused() -> None:
    """All of their ids are arguments of one script, and all of their texts are scored and stored."""
    with pytest.raises(UpstreamPayloadError, match="holds 5001 items, and 5000"):
        _read(Page((ITEM,) * (MAX_ITEMS + 1)))


def test_what_else_an_item_says_is_bounded_too() -> None:
    """It goes into Redis and the database as the text does; a part of a URL or of a ticker is none."""
    long = replace(
        ITEM,
        url="h" * 3000,
        lang="l" * 99,
        symbols=("A" * 99, *["AAPL"] * 200),
        origin="o" * 9999,
        first_id="f",
    )
    (item,) = _read(Page((long,))).items
    assert (item.url, item.lang, item.symbols, item.first_id) == (None, None, ("AAPL",) * 100, "f")
    assert len(item.origin or "") == 32


@pytest.mark.parametrize(
    ("given", "symbols"),
    [
        (["MSFT", "AAPL"], ("MSFT", "AAPL")),
        ({"GME", "AAPL", "TSLA", "AMC"}, ("AAPL", "AMC", "GME", "TSLA")),
        (iter(["MSFT", "AAPL"]), ("AAPL", "MSFT")),
        ("AAPL", ("AAPL",)),
    ],
)
def test_symbols_of_any_kind_are_what_is_known_of_them_later(given: Any, symbols: tuple[str, ...]) -> None:
    """Each refresh made a new version of each item of such a source; of a text each letter was one."""
    (item,) = _read(Page((replace(ITEM, symbols=given),))).items
    assert item == replace(ITEM, symbols=symbols)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_a_figure_that_is_none_is_left_out(odd: float) -> None:
    """NaN is not itself: each read would be a new version, and the past another one than what was said."""
    wrong = replace(ITEM, score=odd, weight=odd, engagement=Engagement(likes=2**70, followers=7, reposts=-3))
    (item,) = _read(Page((wrong,))).items
    assert (item.score, item.weight) == (None, 0.0)
    assert item.engagement == Engagement(followers=7, reposts=-3)


def test_a_text_is_cut_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """An item that a reader finds cut off must not look as its author wrote it."""
    caplog.set_level(logging.INFO)
    long = replace(ITEM, text="x" * (MAX_TEXT + 1), author="a" * 9999)
    (item,) = _read(Page((long,))).items
    assert (len(item.text), item.text[-2:]) == (MAX_TEXT, "x…")
    assert len(item.author or "") == MAX_AUTHOR
    (record,) = (record for record in caplog.records if record.msg == "page.cut")
    assert (vars(record)["source"], vars(record)["texts"]) == ("mine", 1)


@pytest.mark.parametrize("id", ["i" * (MAX_ID + 1), "cut \ud83d"])
def test_an_id_that_is_no_key_becomes_its_fingerprint(id: str) -> None:
    """No database takes it as a key, and the 99 items beside it are worth having."""
    items = [_read(Page((replace(ITEM, id=one),))).items[0] for one in (id, id, id + "!")]
    assert items[0].id == items[1].id != items[2].id
    assert len(items[0].id.encode()) == 32


@pytest.mark.parametrize("cursor", ["c" * (MAX_CURSOR + 1), "cut \ud83d"])
def test_a_cursor_that_fits_in_no_url_is_a_payload_error(cursor: str) -> None:
    """Sent, it would end in an error of a library's own, or of the upstream's."""
    with pytest.raises(UpstreamPayloadError, match="cursor"):
        _read(Page((ITEM,), next=cursor))


@pytest.mark.parametrize(
    "page",
    [
        Page((replace(ITEM, at=datetime(2026, 1, 1)),)),
        Page((ITEM,), hints=(RateHint(1, datetime(2026, 1, 1)),)),
        Page(cast(Any, (None,))),
        OverflowError("cannot convert float infinity to integer"),
        RecursionError("maximum recursion depth exceeded"),
        ValueError("no \x1b[2J number"),
        KeyError("posts"),
        Wordless(),
    ],
)
def test_a_parser_that_is_surprised_is_a_payload_error(page: Page | Exception) -> None:
    """A source of one's own must not kill a worker by an answer that it was not written for."""
    with pytest.raises(UpstreamPayloadError, match="not as expected") as caught:
        _read(page)
    assert caught.value.message.isprintable()
    if isinstance(page, Exception):
        # Whoever writes one needs the line.
        raised_at = _read.__code__.co_firstlineno + 3
        assert f"as expected at test_page.py:{raised_at} ({type(page).__name__}: " in caught.value.message
