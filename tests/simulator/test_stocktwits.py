"""Stocktwits, as UPSTREAMS describes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from html import unescape

import pytest
from starlette.testclient import TestClient

from tbcache.models import Limit
from tests.simulator import ask
from tests.simulator.conftest import START, Clock


def test_a_stream_is_newest_first_with_its_cursor(client: TestClient) -> None:
    """The cursor is how one pages; it must name what is on the page."""
    page = ask.stocktwits(client).json()
    ids = [message["id"] for message in page["messages"]]
    assert page["response"] == {"status": 200}
    assert page["symbol"]["symbol"] == "AAPL"
    assert len(ids) == 30
    assert ids == sorted(ids, reverse=True)
    assert page["cursor"] == {"more": True, "since": ids[0], "max": ids[-1]}
    assert all("$AAPL" in unescape(message["body"]) for message in page["messages"])


def test_max_repeats_the_message_it_names(client: TestClient) -> None:
    """It is inclusive at times: a reader has to drop repeats by id, and go on."""
    first = ask.stocktwits(client).json()
    second = ask.stocktwits(client, max=first["cursor"]["max"]).json()
    assert second["messages"][0] == first["messages"][-1]
    assert second["messages"][1]["id"] < first["messages"][-1]["id"]


def test_since_gives_only_what_is_new(client: TestClient, clock: Clock) -> None:
    """A refresh reads what came since and is told that there is no more."""
    newest = ask.stocktwits(client).json()["cursor"]["since"]
    nothing = ask.stocktwits(client, since=newest).json()
    assert (nothing["messages"], nothing["cursor"]["more"]) == ([], False)
    clock.advance(1800)
    fresh = ask.stocktwits(client, since=newest).json()
    assert 0 < len(fresh["messages"]) < 30
    assert all(message["id"] > newest for message in fresh["messages"])
    assert not fresh["cursor"]["more"]


def test_zeros_mean_from_the_newest(client: TestClient) -> None:
    """Clients that were told no bounds send `max=0&since=0`, and are answered."""
    assert ask.stocktwits(client, max=0, since=0, limit=0).json() == ask.stocktwits(client).json()


def test_a_users_stream_is_all_theirs(client: TestClient) -> None:
    """A client that follows authors pages through them as through a symbol."""
    url = "/stocktwits/api/2/streams/user"
    first = client.get(f"{url}/gamma_reader.json").json()
    assert first["user"]["username"] == "gamma_reader"
    assert len(first["messages"]) == 30
    second = client.get(f"{url}/gamma_reader.json", params={"max": first["cursor"]["max"]}).json()
    assert second["messages"][0] == first["messages"][-1]
    messages = [*first["messages"], *second["messages"]]
    assert {message["user"]["username"] for message in messages} == {"gamma_reader"}
    for nobody in ("nobody", "gamma_reader0", "gamma_reader01", "", "gamma_"):
        assert client.get(f"{url}/{nobody}.json").status_code == 404


def test_limit_is_capped_at_30(client: TestClient) -> None:
    """More is not refused, it is ignored."""
    assert len(ask.stocktwits(client, limit=200).json()["messages"]) == 30
    assert len(ask.stocktwits(client, limit=5).json()["messages"]) == 5
    assert ask.stocktwits(client, limit="all").status_code == 400


def test_about_two_in_five_carry_a_label(client: TestClient) -> None:
    """Author labels beat text: a stream where all or none had one would not test that."""
    labels, cursor = [], None
    for _ in range(20):
        page = ask.stocktwits(client, "NVDA", **({"max": cursor} if cursor else {})).json()
        labels += [message["entities"]["sentiment"] for message in page["messages"]]
        cursor = page["cursor"]["max"]
    share = sum(label is not None for label in labels) / len(labels)
    assert 0.35 < share < 0.5
    assert {label["basic"] for label in labels if label} == {"Bullish", "Bearish"}


def test_bodies_are_escaped(client: TestClient) -> None:
    """As there: `&amp;`, `&#x27;`."""
    bodies = [message["body"] for message in ask.stocktwits(client, "NVDA").json()["messages"]]
    assert any("&amp;" in body for body in bodies)


def test_times_are_in_utc_and_not_ahead(client: TestClient) -> None:
    """An item from the future would never fall out of the window it is asked for."""
    times = [m["created_at"] for m in ask.stocktwits(client, "NVDA").json()["messages"]]
    assert all(time.endswith("Z") for time in times)
    assert START - 60 * 240 < datetime.fromisoformat(times[0]).timestamp() < START


@pytest.mark.parametrize(
    "path", ["streams/symbol/ZZZQ.json", "streams/user/nobody.json", "streams/symbol/AAPL"]
)
def test_what_is_unknown_is_a_404_with_errors(client: TestClient, path: str) -> None:
    """An unknown symbol is no outage."""
    answer = client.get(f"/stocktwits/api/2/{path}")
    assert answer.status_code == 404
    assert answer.json()["response"] == {"status": 404}
    assert answer.json()["errors"]


def test_a_token_is_checked_only_where_one_is_known(simulator: Callable[..., TestClient]) -> None:
    """It works without one; a wrong one must not pass for none."""
    strict = simulator(credentials={"TBCACHE_STOCKTWITS__ACCESS_TOKEN": "right"})
    assert ask.stocktwits(strict).status_code == 200
    assert ask.stocktwits(strict, access_token="right").status_code == 200
    assert ask.stocktwits(strict, access_token="wrong").status_code == 401
    url = "/stocktwits/api/2/streams/symbol/AAPL.json"
    assert strict.get(url, headers={"Authorization": "OAuth wrong"}).status_code == 401
    assert ask.stocktwits(simulator(), access_token="any").status_code == 200


def test_over_the_limit_the_header_says_until_when(
    simulator: Callable[..., TestClient], clock: Clock
) -> None:
    """Reset is a moment in epoch seconds, and coming back then is early enough."""
    client = simulator(limits={"stocktwits": [Limit(1, 3600)]})
    assert ask.stocktwits(client).headers["x-ratelimit-remaining"] == "0"
    clock.advance(0.5)
    refused = ask.stocktwits(client)
    assert refused.status_code == 429
    assert refused.json()["response"] == {"status": 429}
    assert "1 requests an hour" in refused.json()["errors"][0]["message"]
    clock.at = float(refused.headers["X-RateLimit-Reset"])
    assert ask.stocktwits(client).status_code == 200
