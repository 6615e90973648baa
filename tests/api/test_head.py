"""How answers are sent: without a body where only the head is asked for, and compressed."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from hashlib import sha256

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from tbcache.api.head import Heads


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/healthz", "/metrics", "/api/weights", "/live/home", "/nowhere"]
)
def test_head_is_what_get_would_answer_without_its_body(client: TestClient, path: str) -> None:
    """What checks whether a page is up asks that way; a stream that is watched has no end."""
    asked = client.head(path)
    assert asked.content == b""
    if path != "/live/home":
        found = client.get(path)
        assert asked.status_code == found.status_code
        assert asked.headers["Content-Type"] == found.headers["Content-Type"]
        assert asked.headers.get("ETag") == found.headers.get("ETag")
    else:
        assert asked.headers["Content-Type"].startswith("text/event-stream")


def test_what_would_go_on_ends_with_its_head() -> None:
    """Not only where it sees that nobody listens any more: nothing may come behind the end of an answer."""
    sent = list[Message]()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(9):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)
        await asyncio.sleep(0)

    asyncio.run(Heads(endless)({"type": "http", "method": "HEAD"}, receive, send))
    assert sent[1:] == [{"type": "http.response.body", "body": b""}]


def test_a_path_that_has_get_says_that_it_has_head(client: TestClient) -> None:
    """`Allow` is where a program looks for what else there is."""
    refused = client.put("/api/weights")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert client.head("/api/warm").status_code == 405


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/api/monitoring/status"])
def test_what_is_large_is_sent_compressed(client: TestClient, path: str) -> None:
    """A page of an operator's phone, and what a bot polls."""
    packed, plain = (client.get(path, headers={"Accept-Encoding": one}) for one in ("gzip", "identity"))
    assert (packed.headers.get("Content-Encoding"), "Content-Encoding" in plain.headers) == ("gzip", False)
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2
    for one in (packed, plain):
        assert "Accept-Encoding" in one.headers["Vary"]
        assert one.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("accepted", "is_sent"),
    [
        ("GZIP", True),
        ("br, x-gzip;q=0.001", True),
        ("gzip ; q=1.0, *;q=0", True),
        ("gzip;q=0", False),
        ("br;q=1.0, gzip; Q=0.000", False),
        ("agzip", False),
        ("", False),
    ],
)
def test_who_refuses_gzip_is_sent_none(client: TestClient, accepted: str, is_sent: bool) -> None:
    """A client that cannot read it says so."""
    found = client.get("/openapi.json", headers={"Accept-Encoding": accepted})
    assert (found.headers.get("Content-Encoding") == "gzip") == is_sent
    assert found.json()["openapi"]


def test_the_documentation_runs_no_script_and_has_its_own_style_alone(client: TestClient) -> None:
    """It is shown to strangers, and may be framed by nobody."""
    found = client.get("/docs")
    (style,) = re.findall(r"<style>(.*?)</style>", found.text, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = found.headers["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "frame-ancestors 'none'" in policy
    assert " style=" not in found.text


def test_an_operator_is_called_as_he_calls_himself(client: TestClient) -> None:
    """Bytes of UTF-8 in a header were told as those of Latin-1."""
    for name, told in (("José".encode(), "José"), ("José".encode("latin-1"), "José"), (b"ada", "ada")):
        answer = client.post("/api/weights", json={"caller": "a", "weight": 2}, headers={b"X-Operator": name})  # type: ignore[arg-type]
        assert answer.status_code == 200
        assert client.get("/api/audit?most=1").json()[0]["who"] == told


def test_refusals_are_taken_for_nothing_else(client: TestClient) -> None:
    """A browser that guesses what a body is may run it."""
    refused = [
        client.post("/api/warm", content=b"{", headers={"Content-Type": "application/json"}),
        client.get("/", headers={"Host": "evil.example"}),
        client.post("/api/warm", content=b"x" * 20_000),
    ]
    assert [one.headers["X-Content-Type-Options"] for one in refused] == ["nosniff"] * 3
