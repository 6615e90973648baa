"""What holds for every path."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest
from starlette.testclient import TestClient

from tbcache.api import create_app, document, intake
from tbcache.api.access import Access
from tbcache.api.error import KINDS
from tbcache.api.guess import Guesses
from tbcache.api.token import Tokens
from tbcache.fleet import Fleet
from tbcache.models.secret import SecretStr
from tbcache.settings import Settings
from tests.server import Server

GETS = (
    "/api/monitoring/status",
    "/api/monitoring/cache/status",
    "/api/monitoring/rate-limits",
    "/api/monitoring/usage",
    "/healthz",
    "/metrics",
)
PATHS = {
    *GETS,
    "/readyz",
    "/api/monitoring/cache/clear",
    "/api/sentiment/{source}/{symbol}",
    "/api/history",
    "/api/usage/history",
    "/api/usage/symbols",
    "/api/alerts",
    "/api/changes",
    "/api/audit",
    "/api/dead",
    "/api/dead/errors",
    "/api/weights",
    "/api/incidents",
    "/api/jobs",
    "/api/jobs/{job}",
    "/api/warm",
    "/api/usage",
    "/api/symbols",
    "/api/symbols/{symbol}",
    "/api/sources/{source}",
    *(f"/api/dead/{{name}}/{verb}" for verb in ("requeue", "purge")),
    *(f"/api/queue/{{name}}/jobs/{{job}}/{verb}" for verb in ("cancel", "promote")),
    *(f"/api/queue/{{name}}/{verb}" for verb in ("pause", "drain", "resume", "cancel")),
    *(f"/api/limits/{{source}}/{verb}" for verb in ("set", "unset", "reopen", "reset")),
}


def test_the_openapi_document_has_every_path_and_model(client: TestClient) -> None:
    """Clients are generated from it."""
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert set(document["paths"]) == PATHS
    models = set(document["components"]["schemas"])
    assert {"CacheUsage", "RateLimits", "Usage", "Cleared", "ClearRequest", "Health", "Error"} <= models
    assert set(document["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyHeader", "Session"}
    clear = document["paths"]["/api/monitoring/cache/clear"]["post"]
    assert {"200", "401", "403", "415", "422", "503"} <= set(clear["responses"])


def test_the_openapi_document_is_made_once(settings: Settings) -> None:
    """At a start several ask at once; two makings at a time failed, each by the other."""
    app, making, most = create_app(settings), [0], [0]
    real = document.get_openapi

    def make(**facts: Any) -> dict[str, Any]:
        making[0] += 1
        most[0] += 1
        assert making[0] == 1
        time.sleep(0.01)
        found = real(**facts)
        making[0] -= 1
        return found

    with mock.patch.object(document, "get_openapi", make), ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: app.openapi(), range(4)))
    assert most == [1]
    assert all(one is found[0] for one in found)


def test_the_openapi_document_is_whole(client: TestClient) -> None:
    """A reference to nowhere breaks every generator, and validation errors have our own form."""
    document = client.get("/openapi.json").json()
    references = list(_references(document))
    assert references
    for reference in references:
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_the_openapi_document_has_the_text_behind_each_field(client: TestClient) -> None:
    """It stands in the dataclass that the command line prints as well, which knows nothing of pydantic."""
    row = client.get("/openapi.json").json()["components"]["schemas"]["UsageRow"]
    assert row["properties"]["failed"]["description"] == "The asks that got no answer."
    assert set(row["required"]) == set(row["properties"]), "a field that has a default is always there"


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_the_page_for_people_shows_every_path_and_needs_no_other_host(client: TestClient) -> None:
    """Where trading happens there is often no way out, and others' scripts could clear the cache."""
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    document = client.get("/openapi.json").json()
    for name in (*PATHS, *document["components"]["schemas"]):
        assert name in page.text
    assert "<script" not in page.text
    assert not re.search(r"(?:src|href)=.https?:", page.text)
    assert f"curl -X POST {client.base_url}/api/monitoring/cache/clear" in page.text
    for anchor in re.findall(r'href="#(\w+)"', page.text):
        assert f'id="{anchor}"' in page.text
    for link in re.findall(r'href="([a-z][^":]*)"', page.text):
        assert client.get(f"/{link}").status_code == 200


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/api/monitoring/usge", "did you mean '/api/monitoring/usage'?"),
        ("/api/monitoring/cache", "did you mean '/api/monitoring/cache/"),
        ("/health", "did you mean '/healthz'?"),
        ("/zzz", "; /docs lists them all"),
    ],
)
def test_an_unknown_path_names_the_nearest(client: TestClient, path: str, hint: str) -> None:
    """A typing error costs a second, not a look into the source."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert hint in answer.json()["error"]


def test_the_wrong_method_names_the_right_one(client: TestClient) -> None:
    """Opening the clear path in a browser must explain itself, and clear nothing."""
    answer = client.get("/api/monitoring/cache/clear")
    assert answer.status_code == 405
    words = "GET is not for /api/monitoring/cache/clear; use POST"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "status": 405,
        "title": "Method Not Allowed",
        "detail": words,
        "error": words,
        "instance": "/api/monitoring/cache/clear",
    }


def test_the_root_is_the_page_that_leads_to_the_documentation(client: TestClient) -> None:
    """The address that is printed is what people open."""
    answer = client.get("/", follow_redirects=False)
    assert (answer.status_code, '<a href="/docs">' in answer.text) == (200, True)
    assert client.get("/docs").status_code == 200


@pytest.mark.parametrize("path", [*GETS, "/readyz", "/nowhere", "/api/monitoring/usage?days=99"])
def test_nobody_may_give_out_an_old_answer(client: TestClient, path: str) -> None:
    """A proxy that serves yesterday's limits is worse than none."""
    answer = client.get(path)
    is_read = path.startswith("/api/") and answer.status_code == 200
    assert answer.headers["Cache-Control"] == ("private, no-cache" if is_read else "no-store")
    assert ("ETag" in answer.headers) == is_read


def test_who_has_an_answer_already_is_not_sent_it_again(client: TestClient) -> None:
    """A bot that polls each second pays for what has changed."""
    path = "/api/weights"
    first = client.get(path)
    tag = first.headers["ETag"]
    for known in (tag, f'"other", {tag.removeprefix("W/")}', "*"):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert again.headers["Cache-Control"] == "private, no-cache"
    client.post(path, json={"caller": "desk", "weight": 2})
    changed = client.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()) == (200, {"desk": 2.0})
    assert client.get("/api/nowhere", headers={"If-None-Match": "*"}).status_code == 404


def test_no_client_takes_all_of_the_api(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks without waiting for answers has some of them refused, and others are answered."""
    app, entered, go_on = create_app(settings), threading.Semaphore(0), threading.Event()

    def slow() -> dict[str, float]:
        entered.release()
        assert go_on.wait(30)
        return {}

    monkeypatch.setattr(intake, "MOST_IN_HAND", 3)
    monkeypatch.setattr(Fleet, "weights", lambda fleet: slow())
    with TestClient(app, "http://localhost", client=("127.0.0.1", 1)) as one, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(one.get, "/api/weights") for _ in range(3)]
        try:
            for _ in asked:
                assert entered.acquire(timeout=30)
            refused = one.get("/api/weights")
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            assert one.get("/healthz").status_code == 200
            # Who waits for answers is bounded by the places for those (`crew.Places`).
            assert one.get("/api/sentiment/nobody/AAPL").status_code == 404
        finally:
            go_on.set()
        assert [one.result().status_code for one in asked] == [200] * 3
        assert one.get("/api/weights").status_code == 200


def test_a_long_query_is_refused(client: TestClient) -> None:
    """Nothing that is known is as long, and each byte is read again and again."""
    answer = client.get("/api/dead?error=" + "x" * 5000)
    assert (answer.status_code, answer.json()["instance"]) == (414, "/api/dead")


def test_no_page_of_another_site_is_let_in(client: TestClient) -> None:
    """CORS is off: a browser gives no other site's script what this answers."""
    asked = {"Origin": "https://evil.example.com", "Access-Control-Request-Method": "GET"}
    for answer in (client.get("/api/weights", headers=asked), client.options("/api/weights", headers=asked)):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_an_error_says_what_kind_it_is(client: TestClient) -> None:
    """A bot in another language tells them apart by that, and not by our words."""
    found = client.post("/api/queue/twiter/pause").json()
    assert (found["type"], found["title"], found["status"]) == (
        "/docs#unknown-source",
        "No such source or queue",
        404,
    )
    assert (found["detail"], found["source"]) == (found["error"], "twiter")
    page = client.get("/docs").text
    assert all(f'id="{kind.name}"' in page for kind in KINDS.values())


def test_an_unexpected_error_is_one_line_without_its_message(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks, the form of the answer stays, and nothing leaks."""
    app = create_app(settings)

    def broken() -> None:
        raise RuntimeError("secret 42")

    monkeypatch.setattr(app.state.context.fleet, "usage", lambda days: broken())
    here = ("127.0.0.1", 50000)
    with TestClient(app, "http://localhost", raise_server_exceptions=False, client=here) as client:
        answer = client.get("/api/monitoring/usage")
    assert answer.status_code == 500
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["error"] == "internal error (RuntimeError); the API's log has the rest"


def test_a_request_that_the_servers_stop_ends_is_told_so() -> None:
    """Like every other error, and without a traceback."""
    sent: list[Any] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            await asyncio.sleep(60)

        access = Access(slow, tokens=Tokens(SecretStr("token")), guesses=Guesses())
        request = asyncio.create_task(
            access({"type": "http", "path": "/healthz", "headers": []}, receive, send)
        )
        await asyncio.sleep(0)
        request.cancel()
        await request

    asyncio.run(main())
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["error"] == "the API stops"


@pytest.mark.parametrize("is_frozen", [True, False])
def test_everything_answers_quickly_while_redis_is_away(
    private_server: Server,
    settings_for: Callable[..., Settings],
    client_for: Callable[..., TestClient],
    is_frozen: bool,
) -> None:
    """A dashboard that hangs while Redis is down is down, too."""
    for path in (*GETS, "/readyz"):
        client = client_for(settings_for(private_server))
        client.get("/healthz")
        if is_frozen:
            private_server.freeze()
        else:
            private_server.kill()
        started = time.monotonic()
        answer = client.get(path)
        # One ask or two without an answer take 0.5 s; one for each figure, many times that.
        assert time.monotonic() - started < 5.0, path
        assert answer.status_code == (503 if path == "/readyz" else 200)
        if is_frozen:
            private_server.thaw()
        else:
            private_server.start()


def test_no_answer_holds_a_secret(
    private_server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient]
) -> None:
    """These answers end up in dashboards, screenshots and tickets."""
    variables = {
        "REDIS_URL": f"redis://:hunter2@127.0.0.1:{private_server.port}/0",
        "TBCACHE_TWITTER__BEARER_TOKEN": "hunter2-twitter",
        "TBCACHE_API_TOKEN": "hunter2-of-the-api",
        "TBCACHE_DATABASE_URL": "postgresql://bot:hunter2@db/x",
    }
    for is_away in (False, True):
        client = client_for(settings_for(private_server, **variables))
        if is_away:
            private_server.kill()
        for path in (*GETS, "/readyz", "/openapi.json"):
            assert "hunter2" not in client.get(path).text
        refused = client.post("/api/monitoring/cache/clear", json={"pattern": "*"})
        assert "hunter2" not in refused.text + json.dumps(dict(refused.headers))


def test_an_app_needs_no_settings_of_its_own(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`uvicorn --factory tbcache.api:create_app` is how others will run it."""
    monkeypatch.setenv("REDIS_URL", server.url)
    with TestClient(create_app(), "http://localhost") as client:
        assert client.get("/readyz").status_code == 200
