"""Fields of other types than documented."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tbcache.models import Item
from tbcache.models.coerce import fingerprint, moment, number, text, unique, word

AT = datetime(2023, 12, 12, 16, 35, 52, 168490, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7.0),
        ("178857", 178857.0),
        ("$1,010.50", 1010.5),
        ("986.0", 986.0),
        (True, None),
        (None, None),
        ("", None),
        ("NaN", None),
        (float("inf"), None),
        (10**400, None),
        ([], None),
    ],
)
def test_a_number_is_read_from_text_too(value: object, expected: float | None) -> None:
    """Unusual Whales sends money as strings; a premium of None would weigh nothing."""
    assert number(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "2023-12-12T16:35:52.168490Z",
        "2023-12-12 16:35:52.168490+00:00",
        "2023-12-12T11:35:52.168490-05:00",
        "2023-12-12T16:35:52.168490",
        1702398952.168490,
        "1702398952.16849",
        1702398952168490,
        "1702398952168490",
    ],
)
def test_a_time_is_read_in_every_form_that_is_sent(value: object) -> None:
    """Read wrongly by a factor of 1000, a trade of today falls out of the last 24 hours."""
    assert moment(value) == AT


def test_milliseconds_are_told_from_seconds() -> None:
    """The feeds send them as numbers and as strings."""
    assert (
        moment(1747419592926)
        == moment("1747419592926")
        == datetime(2025, 5, 16, 18, 19, 52, 926000, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    "value", [None, "", "yesterday", True, [], {}, -5, 1e300, "9" * 40, "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_time_is_none(value: object) -> None:
    """The item is kept without a time rather than lost with it."""
    assert moment(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a &amp; b &#39;c&#39;", "a & b 'c'"), ("&amp;lt;", "&lt;"), ("nul\0", "nul"), (None, ""), (7, "")],
)
def test_text_is_unescaped_once(value: object, expected: str) -> None:
    """An author who wrote &lt; meant it, and the one who wrote & did not write &amp;."""
    assert text(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(7, "7"), (" a ", "a"), ("", None), (True, None), ([], None), (1.5, None)]
)
def test_a_word_is_text_or_a_whole_number(value: object, expected: str | None) -> None:
    """Ids come as both, and must be the same id."""
    assert word(value) == expected


def test_of_two_items_with_one_id_the_first_is_kept_in_place() -> None:
    """Upstreams repeat items within an answer, and their order says which is newest."""
    items = [Item(id, None, text) for id, text in (("a", "1"), ("b", "2"), ("a", "3"))]
    assert [item.text for item in unique(items)] == ["1", "2"]


def test_a_fingerprint_depends_on_nothing_but_its_parts() -> None:
    """Another process must give the same article the same id, or it is stored twice."""
    assert fingerprint("a", None) == fingerprint("a", None) != fingerprint("a", "None")
