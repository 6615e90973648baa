"""Credentials that come back in an answer."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import logging
import re
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tbcache.io import utc_now
from tbcache.models import FetchRequest
from tbcache.models.error import UpstreamError
from tbcache.providers import get_provider
from tbcache.providers.base import Provider
from tbcache.providers.client import HttpClient
from tbcache.providers.mask import secrets_of
from tests.providers.kit import NOW, provider
from tests.providers.wire import answering
from tests.server import Server

SECRET = "s3cr3t/+=%2F&'x"
TOKEN = "t0k3n/granted=="
PAIR = f"me:{SECRET}"
OWN: dict[str, dict[str, Any]] = {
    "twitter": {"bearer_token": SECRET},
    "reddit": {"client_id": "me", "client_secret": SECRET, "auth_url": "https://auth.test"},
    "news": {"api_key": SECRET},
    "options": {"api_key": SECRET},
    "stocktwits": {"access_token": SECRET},
}
#: What may stand for a credential in an answer.
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a URL": lambda secret: quote(secret, safe=""),
    "in a URL, in small letters": lambda secret: re.sub(
        "%..", lambda found: found.group().lower(), quote(secret, safe="")
    ),
    "in HTML": html.escape,
    "in JSON with slashes escaped": lambda secret: secret.replace("/", "\\/"),
    "in JSON of ASCII letters": lambda secret: "".join(
        c if c.isalnum() else f"\\u{ord(c):04X}" for c in secret
    ),
}


class Echo:
    """Answers 401, or hands out a token, and says what it was sent: in all that it says."""

    def __init__(self, form: Callable[[str], str], refuses_token: bool = False) -> None:
        self._form = form
        self._refuses_token = refuses_token

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "auth.test" and not self._refuses_token:
            return httpx2.Response(200, json={"access_token": TOKEN})
        said = [value for name, value in request.headers.items() if name in ("authorization", "x-api-key")]
        if said[0].startswith("Basic "):
            said.append(base64.b64decode(said[0].removeprefix("Basic ")).decode())
        words = self._form(f"no access for {' and '.join(said)} (end)")
        # Written by hand: what is escaped in a form of its own stays so.
        return httpx2.Response(401, content=f'{{"message": "{words}"}}'.encode(), headers={"x-echo": said[0]})


def _shows(secret: str, words: str) -> bool:
    return any(form(secret) in words for form in FORMS.values())


def _send(source: str, handler: Callable[[httpx2.Request], httpx2.Response]) -> UpstreamError:
    found = provider(source, **OWN[source])
    transport = httpx2.MockTransport(handler)
    client = HttpClient(source, auth=found.auth(), secrets=secrets_of(found.settings), transport=transport)
    with pytest.raises(UpstreamError) as caught:
        found.parse(client.send(found.request(FetchRequest(source, "AAPL", 24), None, NOW)))
    return caught.value


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("source", OWN)
def test_a_credential_that_a_refusal_quotes_is_masked(source: str, form: Callable[[str], str]) -> None:
    """The message goes into exceptions, logs, Redis and pages: each of them would show the key."""
    error = _send(source, Echo(form))
    assert "no access for" in error.message.replace("%20", " ")
    assert "***" in error.message
    assert "(end" in error.message.replace("%28", "(")
    for secret in (SECRET, TOKEN):
        assert not _shows(secret, f"{error} {error!r} {error.__reduce__()}")


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_credential_that_the_refusal_of_a_token_quotes_is_masked(form: Callable[[str], str]) -> None:
    """The token endpoint is sent the secret itself, packed as Basic authentication packs it."""
    error = _send("reddit", Echo(form, refuses_token=True))
    assert "***" in error.message
    packed = base64.b64encode(PAIR.encode()).decode()
    for secret in (SECRET, PAIR, packed):
        assert not _shows(secret, str(error))
    assert error.__suppress_context__


@pytest.mark.parametrize("source", OWN)
def test_a_credential_is_masked_wherever_it_stands(source: str, caplog: pytest.LogCaptureFixture) -> None:
    """A debugging page, a redirect or an article may quote it; what is kept is kept for long."""
    caplog.set_level(logging.DEBUG, "tbcache")
    sent = TOKEN if source == "reddit" else SECRET
    body = json.dumps({"data": [{"text": f"my key is {sent}", sent: 1}], "also": SECRET}).encode()

    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "auth.test":
            return httpx2.Response(200, json={"access_token": TOKEN})
        return httpx2.Response(302, headers={"location": f"/?key={sent}", "x-echo": sent}, content=body)

    found = provider(source, **OWN[source])
    transport = httpx2.MockTransport(handler)
    client = HttpClient(source, auth=found.auth(), secrets=secrets_of(found.settings), transport=transport)
    answer = client.send(found.request(FetchRequest(source, "AAPL", 24), None, NOW))
    assert json.loads(answer.body) == {"data": [{"text": "my key is ***", "***": 1}], "also": "***"}
    assert (answer.headers["location"], answer.headers["x-echo"]) == ("/?key=***", "***")
    assert not _shows(sent, caplog.text)


def test_a_token_is_told_to_the_sign_in_and_to_nobody_else() -> None:
    """Masked in the answer that grants it again, it could not be used."""
    seen = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "auth.test":
            return httpx2.Response(200, json={"access_token": TOKEN, "expires_in": -1})
        seen.append(request.headers["authorization"])
        return httpx2.Response(200, content=TOKEN.encode())

    found = provider("reddit", **OWN["reddit"])
    client = HttpClient("reddit", auth=found.auth(), transport=httpx2.MockTransport(handler))
    request = found.request(FetchRequest("reddit", "AAPL", 24), None, NOW)
    assert [client.send(request).body for _ in range(2)] == [b"***", b"***"]
    assert seen == [f"Bearer {TOKEN}"] * 2


@pytest.mark.parametrize(
    "auth",
    [
        httpx2.BasicAuth("me", "s3cr3t-word"),
        httpx2.FunctionAuth(lambda request: _set(request, "X-Acme", "s3cr3t-word")),
        httpx2.FunctionAuth(lambda request: _ask(request, "s3cr3t-word")),
    ],
    ids=["basic", "a header of its own", "the query"],
)
def test_what_any_sign_in_puts_on_is_masked(auth: httpx2.Auth) -> None:
    """A source of one's own has credentials that no setting of ours knows."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=f"{request.url} {dict(request.headers)} s3cr3t-word".encode())

    client = HttpClient("mine", auth=auth, transport=httpx2.MockTransport(handler))
    body = client.send(provider("news").request(FetchRequest("news", "AAPL", 24), None, NOW)).body
    assert b"s3cr3t-word" not in body
    assert base64.b64encode(b"me:s3cr3t-word") not in body
    assert b"everything?q=AAPL+OR+" in body


def _set(request: httpx2.Request, name: str, value: str) -> httpx2.Request:
    request.headers[name] = value
    return request


def _ask(request: httpx2.Request, key: str) -> httpx2.Request:
    request.url = request.url.copy_merge_params({"apikey": key})
    return request


def test_a_provider_has_all_of_its_credentials_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is set and not sent may be quoted as well, as by a proxy that knows it."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=b"first-s3cr3t second-s3cr3t")

    found: Provider = provider("news", api_key="first-s3cr3t", client_secret="second-s3cr3t")
    monkeypatch.setitem(vars(found), "pipeline", SimpleNamespace(admission=SimpleNamespace(send_seconds=5)))
    found.client._transport = httpx2.MockTransport(handler)
    assert found.send(found.request(FetchRequest("news", "AAPL", 24), None, NOW)).body == b"*** ***"
    found.client.close()


@pytest.mark.parametrize("status", [200, 401, 429])
def test_no_credential_that_is_quoted_gets_into_redis_the_log_or_the_database(
    status: int,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are read by more people than may have the key, and the database is kept for months."""
    caplog.set_level(logging.DEBUG, "tbcache")
    key = "s3cr3t-of-ours"
    articles = [{"title": f"Buy {key}", "url": f"https://x.test/{key}", "publishedAt": f"{utc_now():%FT%TZ}"}]
    bodies: dict[int, Any] = {200: {"status": "ok", "totalResults": 1, "articles": articles}}
    body = json.dumps(bodies.get(status, {"status": "error", "code": key, "message": f"no {key}"})).encode()

    def echo(connection: socket.socket, request: bytes) -> None:
        assert key.encode() in request
        head = f"HTTP/1.1 {status} {key}\r\ncontent-length: {len(body)}\r\nconnection: close\r\nx-echo: {key}"
        connection.sendall(head.encode() + b"\r\n\r\n" + body)

    with answering(echo) as url:
        own = {"API_KEY": key, "BASE_URL": url}
        variables = {**server.variables, **{f"TBCACHE_NEWS__{name}": value for name, value in own.items()}}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        news = get_provider("news")
        with contextlib.nullcontext() if status == 200 else pytest.raises(UpstreamError, match=r"no \*\*\*"):
            news.fetch("AAPL")
        news.client.close()
    # Compressed, a dump may hold the mask in pieces.
    server.client.config_set("rdbcompression", "no")
    kept = b"".join(server.client.dump(name) or b"" for name in server.client.scan_iter())
    assert kept.count(b"***") or status == 401
    files = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert key.encode() not in kept + files
    assert key not in caplog.text


@pytest.mark.parametrize("secret", ["", "a", "data"])
def test_a_credential_that_is_a_common_word_damages_no_answer(secret: str) -> None:
    """One of a few letters is for trying things out, and stands in every answer."""
    body = b'{"data": []}'
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=body))
    client = HttpClient("options", secrets=[secret], transport=transport)
    assert (
        client.send(provider("options").request(FetchRequest("options", "AAPL", 24), None, NOW)).body == body
    )
