"""A part of the hours, as each upstream is asked for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tbcache.models import FetchRequest
from tbcache.models.request import Stretch
from tests.providers.kit import NOW, provider

SINCE = NOW - timedelta(minutes=10)
NEWS = Stretch(SINCE, since_id="41")
OLDER = Stretch(NOW - timedelta(hours=20), until=SINCE, until_id="42")
#: https://docs.x.com: the first millisecond of an id, which has 22 bits more.
FIRST_MS = 1_288_834_974_657


def asked(source: str, stretch: Stretch, cursor: str | None = None) -> dict[str, str]:
    request = replace(FetchRequest(source, "AAPL"), stretch=stretch, asked_at=NOW)
    return dict(provider(source).request(request, cursor, stretch.since).params)


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("twitter", {"since_id": f"{((ms(SINCE) - FIRST_MS) << 22) - 1}"}),
        ("stocktwits", {"since": "41"}),
        ("news", {"from": at(SINCE)}),
        ("options", {"newer_than": f"{int(SINCE.timestamp())}"}),
        ("reddit", {"t": "hour"}),
    ],
)
def test_what_is_new_is_asked_for_by_the_upstreams_own_means(source: str, expected: dict[str, str]) -> None:
    """What is known already is not sent again, nor billed."""
    params = asked(source, NEWS)
    assert expected.items() <= params.items()
    assert "start_time" not in params


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "twitter",
            {
                "until_id": f"{(ms(SINCE) + 1 - FIRST_MS) << 22}",
                "since_id": f"{((ms(NOW - timedelta(hours=20)) - FIRST_MS) << 22) - 1}",
            },
        ),
        ("stocktwits", {"max": "42"}),
        ("news", {"to": at(SINCE), "from": at(NOW - timedelta(hours=20))}),
        ("options", {"older_than": f"{int(SINCE.timestamp()) + 1}"}),
        ("reddit", {"after": "42", "t": "day"}),
    ],
)
def test_what_is_older_is_asked_for_from_where_the_known_ends(source: str, expected: dict[str, str]) -> None:
    """Pages of what is known are pages less of what is not."""
    assert expected.items() <= asked(source, OLDER).items()


def test_the_next_page_goes_on_from_its_cursor() -> None:
    """An id that stays would give the first page again."""
    assert asked("stocktwits", OLDER, "30")["max"] == "30"
    assert asked("reddit", OLDER, "t3_30")["after"] == "t3_30"
    assert asked("news", OLDER, "then")["to"] == "then"
    assert asked("options", OLDER, "7")["older_than"] == "7"


def test_x_is_asked_by_time_for_what_is_older_than_its_ids() -> None:
    """An id of more than seven days ago is refused."""
    params = asked("twitter", replace(NEWS, since=NOW - timedelta(days=8)))
    assert "since_id" not in params
    assert "start_time" in params


def test_x_is_asked_by_no_id_of_a_post() -> None:
    """One of a time to come would hide all that follows, and each answer would be complete."""
    assert asked("twitter", replace(NEWS, since_id=f"{10**18}")) == asked("twitter", NEWS)
