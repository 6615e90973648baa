"""One verb has one answer: on the command line and over HTTP the same names mean the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tbcache.api import create_app
from tbcache.settings import Settings
from tests.cli.command import Done
from tests.server import Server

#: Of each verb the command, the path, and the body.
VERBS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("queue pause reddit", "queue/reddit/pause", {}),
    ("queue drain reddit", "queue/reddit/drain", {}),
    ("queue resume reddit", "queue/reddit/resume", None),
    ("queue cancel reddit --yes", "queue/reddit/cancel", {}),
    ("queue cancel reddit --dry-run", "queue/reddit/cancel", {"dry_run": True}),
    ("queue cancel reddit gone", "queue/reddit/jobs/gone/cancel", {}),
    ("queue promote reddit gone", "queue/reddit/jobs/gone/promote", None),
    ("queue weight desk 4", "weights", {"caller": "desk", "weight": 4}),
    ("queue weight desk --unset", "weights", {"caller": "desk", "weight": None}),
    ("limits set reddit 10/1m", "limits/reddit/set", {"limits": "10/1m"}),
    ("limits unset reddit", "limits/reddit/unset", None),
    ("limits reopen reddit", "limits/reddit/reopen", None),
    ("limits reset reddit --yes", "limits/reddit/reset", None),
    ("dead requeue reddit --yes", "dead/reddit/requeue", {}),
    ("dead purge reddit --dry-run", "dead/reddit/purge", {"dry_run": True}),
    ("cache clear reddit:* --yes", "monitoring/cache/clear", {"pattern": "reddit:*"}),
    ("cache clear reddit:* --dry-run", "monitoring/cache/clear", {"pattern": "reddit:*", "dry_run": True}),
]


@pytest.fixture
def http(settings: Settings) -> Iterator[TestClient]:
    client = ("127.0.0.1", 50000)
    with TestClient(create_app(settings), client=client, base_url="http://localhost:8000") as found:
        yield found


def test_each_verb_answers_alike_on_the_command_line_and_over_http(
    server: Server, http: TestClient, cli: Callable[..., Done]
) -> None:
    """A script that was written for the one is of use for the other."""
    for command, path, body in VERBS:
        said = cli(*command.split(), REDIS_URL=server.url).data
        answer = http.post(f"/api/{path}", json=body) if body is not None else http.post(f"/api/{path}")
        assert answer.status_code == 200, (path, answer.text)
        # `before` is what the command had set, as its verb came first.
        rest = {"before", "bound_before", "until", "others"}
        assert list(said) == list(answer.json()), command
        for name in set(said) - rest:
            if name not in ("is_raised", "is_unchanged", "was_closed"):
                assert said[name] == answer.json()[name], (command, name)


def test_what_was_in_force_until_then_is_said_by_both(
    server: Server, http: TestClient, cli: Callable[..., Done]
) -> None:
    """Each says what the other has set, and who did."""
    url = {"REDIS_URL": server.url}
    cli("limits", "set", "reddit", "10/1m", "--by", "ada", "--why", "shared", **url)
    done = http.post("/api/limits/reddit/set", json={"limits": "20/1m"}).json()
    assert (done["before"], done["limits"], done["is_raised"]) == (["10/1m"], ["20/1m"], True)
    assert (done["bound_before"]["who"], done["bound_before"]["limits"]) == ("ada", ["10/1m"])
    said = cli("limits", "unset", "reddit", **url)
    assert (said.data["before"], said.data["bound_before"]["who"]) == (["20/1m"], "api")
    assert said.data["bound_before"]["limits"] == ["20/1m"]
    assert "until now it was 20/1m (20/1m set by api)" in said.err
    cli("queue", "weight", "desk", "4", **url)
    assert http.post("/api/weights", json={"caller": "desk", "weight": 2}).json()["before"] == 4
    assert cli("queue", "weight", "desk", "--unset", **url).data["before"] == 2
    http.post("/api/queue/reddit/pause", json={"why": "new key"})
    said = cli("queue", "drain", "reddit", **url)
    assert (said.code, said.data["order"], said.data["before"]["what"], said.data["before"]["who"]) == (
        1,
        "pause",
        "pause",
        "api",
    )
    assert "reddit stays paused; nothing is changed: it was paused since" in said.err
