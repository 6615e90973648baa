"""What stands behind the ``?`` is known there, each of it once, and a number where one is meant."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from tbcache.api import create_app
from tbcache.settings import Settings

#: A value for each parameter of a path.
VALUES = {"symbol": "AAPL", "source": "reddit", "job": "1", "name": "reddit"}


def test_what_is_not_known_behind_the_question_mark_is_refused(settings: Settings) -> None:
    """A misspelled filter would give all, and who reads that would not know."""
    with TestClient(create_app(settings), base_url="http://localhost", client=("127.0.0.1", 1)) as client:
        paths = client.get("/openapi.json").json()["paths"]
        gets = {
            re.sub(r"{(\w+)}", lambda found: VALUES[found[1]], path) for path in paths if "get" in paths[path]
        }
        found = {path: client.get(path, params={"nmae": "twitter"}) for path in gets}
        assert {path: one.status_code for path, one in found.items()} == dict.fromkeys(gets, 422)
        assert len(gets) > 15
        assert found["/api/dead"].json()["error"] == (
            "nmae: it is not known behind the ?; did you mean 'name'?"
        )
        assert found["/api/weights"].json()["error"] == "nmae: it is not known behind the ?; known: nothing"


def test_a_verb_that_takes_nothing_there_says_where_it_looks(client: TestClient) -> None:
    """ "known: nothing" would have its reason thrown away."""
    refused = client.post("/api/queue/reddit/pause?why=too+dear")
    assert (refused.status_code, refused.json()["error"]) == (
        422,
        "why: it is not known behind the ?; what a POST is to do stands in its body, as JSON",
    )


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("/api/jobs?most=1&most=2", "most: it is said twice: say it once"),
        ("/api/monitoring/usage?days=2&days=3", "days: it is said twice: say it once"),
        ("/api/symbols/AAPL?hours=2_4", "hours: it should be a number, not '2_4'"),
        ("/api/history?hours=2_4", "hours: it should be a number, not '2_4'"),
        ("/api/history?source=twitter", "symbol: it is missing"),
        ("/api/changes?hours=%201", "hours: it should be a number, not ' 1'"),
        ("/api/changes?hours=%D9%A1", "hours: it should be a number"),
    ],
)
def test_a_value_is_said_once_and_as_it_is_meant(client: TestClient, query: str, error: str) -> None:
    """Of two hours the last was fetched, and paid for; 2_4 was a day."""
    answer = client.get(query)
    assert (answer.status_code, answer.json()["error"][: len(error)]) == (422, error)
    assert "{" not in answer.json()["error"], "what is missing is not what was said beside it"
