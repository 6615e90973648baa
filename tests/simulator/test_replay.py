"""Recorded answers, played again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tbcache.embedded.simulator.replay import FOLDERS, Replay
from tbcache.models import Limit
from tbcache.models.error import ConfigurationError
from tests.simulator import ask
from tests.simulator.conftest import START, Clock

RECORDED = Path(os.environ.get("TBCACHE_PAYLOADS") or Path(__file__).parents[3] / "shared" / "payloads")
FILES = sorted(path for path in RECORDED.glob("*/*.json") if path.parent.name in FOLDERS)

POST = {"id": "11", "text": "old but gold $AAPL", "created_at": "2019-03-01T10:00:05.000Z"}
OLDER = {"id": "10", "text": "older $AAPL", "created_at": "2019-03-01T09:00:00.000Z"}
REMOVED = {"title": "[Removed]", "url": "https://removed.example", "publishedAt": "1970-01-01T00:00:00Z"}
ENVELOPES: dict[str, tuple[int, dict[str, str], Any]] = {
    "twitter/a.json": (200, {"x-rate-limit-remaining": "3", "x-kept": "yes"}, {"data": [POST, OLDER]}),
    "twitter/b.json": (200, {}, {"data": [{"id": "12", "text": "no time"}], "meta": {"result_count": 1}}),
    "twitter/error_401.json": (401, {}, {"title": "Unauthorized"}),
    "twitter/only_errors.json": (200, {}, {"errors": [{"title": "Not Found"}]}),
    "reddit/listing.json": (
        200,
        {"date": "Wed, 02 Mar 2016 04:33:17 GMT"},
        {
            "kind": "Listing",
            "data": {"children": [{"kind": "t3", "data": {"id": "x", "created_utc": 1.5e9}}]},
        },
    ),
    "reddit/error_429.json": (429, {"retry-after": "4", "content-type": "text/html"}, "<p>wait</p>"),
    "reddit/cut.json": (200, {}, '{"kind": "Listing", "da'),
    "newsapi/page.json": (
        200,
        {},
        {"status": "ok", "articles": [{"url": "u", "publishedAt": "2020-08-09T07:00:00Z"}, REMOVED]},
    ),
    "unusual_whales/flow.json": (200, {}, [{"id": "t", "executed_at": "2023-12-12 16:35:52.168490+00:00"}]),
    "unusual_whales/ms.json": (200, {}, {"data": [{"id": "u", "executed_at": "1747419592926", "size": "5"}]}),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, (status, headers, body) in ENVELOPES.items():
        path = tmp_path / "recorded" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"status": status, "headers": headers, "body": body}))
    return tmp_path / "recorded"


@pytest.fixture
def client(simulator: Callable[..., TestClient], folder: Path) -> TestClient:
    return simulator(replay=folder)


def test_pages_take_turns(client: TestClient) -> None:
    """Several recordings of one source are all seen, in an order that can be repeated."""
    ids = [[row["id"] for row in ask.twitter(client).json()["data"]] for _ in range(3)]
    assert ids == [["11", "10"], ["12"], ["11", "10"]]


def test_times_move_up_to_now_together(client: TestClient, clock: Clock) -> None:
    """Else every recorded item would be older than any window that is asked for."""
    first = ask.twitter(client).json()["data"]
    assert [row["created_at"] for row in first] == ["2026-06-02T15:00:00.000Z", "2026-06-02T13:59:55.000Z"]
    clock.advance(86_400)
    ask.twitter(client)
    assert ask.twitter(client).json()["data"][0]["created_at"] == "2026-06-03T15:00:00.000Z"


def test_every_form_of_time_keeps_its_form(client: TestClient) -> None:
    """A parser is only tried by the forms that really come."""
    reddit = ask.reddit(client).json()["data"]["children"][0]["data"]
    assert reddit["created_utc"] == START
    articles = ask.news(client).json()["articles"]
    assert [article["publishedAt"] for article in articles] == [
        "2026-06-02T15:00:00Z",
        "1970-01-01T00:00:00Z",
    ]
    flow, milliseconds = ask.options(client).json(), ask.options(client).json()["data"]
    assert flow[0]["executed_at"] == "2026-06-02 15:00:00.168490+00:00"
    assert milliseconds[0] == {"id": "u", "executed_at": f"{int(START)}926", "size": "5"}


def test_live_limits_stand_where_recorded_ones_did(client: TestClient) -> None:
    """A reset of 2022 would be obeyed, or laughed at; neither is a test."""
    headers = ask.twitter(client).headers
    assert headers["x-rate-limit-remaining"] == "99999"
    assert headers["x-kept"] == "yes"
    assert "date" not in ask.reddit(client).headers


def test_errors_come_only_on_request(client: TestClient) -> None:
    """A demo shows answers; a test of errors asks for one by its name."""
    assert all(ask.reddit(client).status_code == 200 for _ in range(5))
    client.post("/_faults", json={"reddit": {"envelope": "error_429.json"}})
    answer = ask.reddit(client)
    assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (429, "<p>wait</p>", "4")
    client.post("/_faults", json={"reddit": {"envelope": "cut"}})
    assert ask.reddit(client).content == b'{"kind": "Listing", "da'
    unknown = client.post("/_faults", json={"reddit": {"envelope": "eror_429.json"}}).json()["error"]
    assert "did you mean 'error_429.json'?" in unknown


def test_credentials_and_limits_still_apply(simulator: Callable[..., TestClient], folder: Path) -> None:
    """Only the content is recorded; the API around it is live."""
    client = simulator(replay=folder, limits={"twitter": [Limit(2, 60)]})
    assert client.get("/twitter/2/tweets/search/recent?query=$A").status_code == 401
    assert [ask.twitter(client).status_code for _ in range(2)] == [200, 429]


def test_replayed_items_are_counted_and_billed(client: TestClient) -> None:
    """The figures do not care where content comes from."""
    for _ in range(3):
        ask.twitter(client)
    figures = client.get("/_stats").json()["twitter"]
    assert (figures["items_served"], figures["billed"]) == (5, 0.015)


def test_a_source_without_recordings_makes_up_its_own(client: TestClient) -> None:
    """A folder of one source still gives a demo of five."""
    assert len(ask.stocktwits(client).json()["messages"]) == 30


def test_a_folder_without_recordings_is_refused(simulator: Callable[..., TestClient], tmp_path: Path) -> None:
    """A wrong path must not quietly become a demo with made-up content."""
    with pytest.raises(ConfigurationError, match="no recorded answers to replay"):
        simulator(replay=tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["{", "[]", '{"status": 200}', '{"status": 7, "body": {}}'])
def test_a_file_that_is_no_recording_is_named(folder: Path, text: str) -> None:
    """One broken file among a hundred has to be found."""
    (folder / "reddit" / "broken.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"broken\.json is no recorded answer"):
        Replay.load(folder)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_real_recording_can_be_played(
    simulator: Callable[..., TestClient], clock: Clock, path: Path
) -> None:
    """What was really answered once is what tbcache has to cope with."""
    client = simulator(replay=RECORDED)
    source = FOLDERS[path.parent.name]
    answer = client.post("/_faults", json={source: {"envelope": path.name}})
    assert answer.status_code == 200, answer.text
    recorded = json.loads(path.read_text())
    played = ask.EACH[source](client)
    assert played.status_code == recorded["status"]
    if isinstance(recorded["body"], str):
        assert played.text == recorded["body"]
    else:
        assert _shape(played.json()) == _shape(recorded["body"])


@pytest.mark.parametrize("source", sorted({FOLDERS[path.parent.name] for path in FILES}))
def test_real_pages_are_recent(simulator: Callable[..., TestClient], source: str) -> None:
    """Every replayed page with times has an item of this minute, and none of the future."""
    client = simulator(replay=RECORDED)
    newest = []
    for _ in range(8):
        times = list(_times(ask.EACH[source](client).json()))
        newest += [max(times)] if times else []
    assert newest
    # Feeds that date rows by the day are recent when they are of this day.
    assert all(START - 86_400 < at <= START + 1 for at in newest)


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shape(part) for name, part in value.items()}
    return [_shape(part) for part in value] if isinstance(value, list) else type(value)


def _times(value: Any) -> Any:
    if isinstance(value, list):
        for part in value:
            yield from _times(part)
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "created_utc" or (name in ("created_at", "executed_at") and isinstance(part, int)):
                yield part / 1000 if part > 1e11 else part
            elif name in ("created_at", "publishedAt", "executed_at", "date"):
                yield datetime.fromisoformat(part if part[10:] else f"{part}T00:00:00+00:00").timestamp()
            else:
                yield from _times(part)
