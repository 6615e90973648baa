"""Reddit's application token."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tbcache.io.loop import drive
from tbcache.models import HttpRequest
from tbcache.models.error import (
    UpstreamAuthError,
    UpstreamError,
    UpstreamPayloadError,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from tbcache.providers.client import HttpClient
from tests.providers.kit import provider

pytestmark = pytest.mark.usefixtures("every_driver")

OWN: dict[str, Any] = {
    "client_id": "me",
    "client_secret": "hush-hush",
    "auth_url": "https://auth.test",
    "user_agent": "bot/1",
}
PAGE = HttpRequest("GET", "https://oauth.test/r/x/search")


class Reddit:
    """Hands out tokens t1, t2, ... and accepts those that are ``good``."""

    def __init__(self, refusal: httpx2.Response | None = None, lifetime: object = 86400) -> None:
        self.asked: list[httpx2.Request] = []
        self.seen: list[str] = []
        self.revoked: set[str] = set()
        self.refusal = refusal
        self.lifetime = lifetime
        self.pause: Callable[[], object] = lambda: None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "auth.test":
            self.asked.append(request)
            self.pause()
            body = {"access_token": f"t{len(self.asked)}", "expires_in": self.lifetime}
            return self.refusal or httpx2.Response(200, json=body)
        token = request.headers["authorization"].removeprefix("Bearer ")
        self.seen.append(token)
        return httpx2.Response(401 if token in self.revoked else 200, json={})

    def client(self, handler: Any = None) -> HttpClient:
        auth = provider("reddit", **OWN).auth()
        return HttpClient("reddit", auth=auth, transport=httpx2.MockTransport(handler or self))


def test_one_token_serves_many_requests() -> None:
    """A token request before every page would double the traffic."""
    reddit = Reddit()
    client = reddit.client()
    client.send(PAGE)
    client.send(PAGE)
    assert reddit.seen == ["t1", "t1"]
    assert len(reddit.asked) == 1


def test_the_token_is_asked_for_as_reddit_wants_it() -> None:
    """A wrong grant or a missing agent is refused without a word why."""
    reddit = Reddit()
    reddit.client().send(PAGE)
    (asked,) = reddit.asked
    assert (asked.method, str(asked.url)) == ("POST", "https://auth.test/api/v1/access_token")
    assert asked.content == b"grant_type=client_credentials"
    assert asked.headers["authorization"] == "Basic " + base64.b64encode(b"me:hush-hush").decode()
    assert asked.headers["user-agent"] == "bot/1"
    assert asked.extensions["timeout"]["read"]


def test_a_token_about_to_expire_is_fetched_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that expires on its way costs a slot and an answer."""
    reddit = Reddit(lifetime=3600)
    client = reddit.client()
    client.send(PAGE)
    start = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: start + 3500)
    client.send(PAGE)
    monkeypatch.setattr(time, "monotonic", lambda: start + 3560)
    client.send(PAGE)
    assert reddit.seen == ["t1", "t1", "t2"]


@pytest.mark.parametrize("lifetime", [None, "soon", "7200", 0])
def test_a_token_of_unknown_life_is_still_used(lifetime: object) -> None:
    """The field is documented, but nothing depends on it."""
    reddit = Reddit(lifetime=lifetime)
    client = reddit.client()
    client.send(PAGE)
    client.send(PAGE)
    assert reddit.seen == ["t1", "t1"]


def test_a_revoked_token_is_replaced_for_the_next_request() -> None:
    """The request that met it is not sent twice: that would be two arrivals on one slot."""
    reddit = Reddit()
    reddit.revoked = {"t1"}
    client = reddit.client()
    assert client.send(PAGE).status == 401
    assert client.send(PAGE).status == 200
    assert reddit.seen == ["t1", "t2"]


def test_many_threads_share_one_token_request() -> None:
    """A fleet of threads starting at once must not storm the token endpoint."""
    reddit = Reddit()
    client, gate = reddit.client(), threading.Barrier(8)
    reddit.pause = lambda: time.sleep(0.05)

    def ask() -> None:
        gate.wait(30)
        client.send(PAGE)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(reddit.asked) == 1
    assert reddit.seen == ["t1"] * 8


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"error": "invalid_grant"}, UpstreamAuthError),
        (400, {"error": "unsupported_grant_type"}, UpstreamAuthError),
        (401, {"message": "Unauthorized", "error": 401}, UpstreamAuthError),
        (429, {"message": "Too Many Requests", "error": 429}, UpstreamThrottled),
        (503, None, UpstreamUnavailable),
        (200, {"token_type": "bearer"}, UpstreamPayloadError),
        (200, {"access_token": "line\nbreak"}, UpstreamPayloadError),
        (200, None, UpstreamPayloadError),
    ],
)
def test_a_refused_token_is_the_error_it_means(status: int, body: object, kind: type[UpstreamError]) -> None:
    """Wrong credentials must not look like an outage that goes away by itself."""
    reddit = Reddit(httpx2.Response(status, json=body) if body is not None else httpx2.Response(status))
    client = reddit.client()
    with pytest.raises(UpstreamError) as caught:
        client.send(PAGE)
    assert type(caught.value) is kind
    assert not reddit.seen


def test_a_failed_token_request_does_not_lock_out_the_next() -> None:
    """An outage of the token endpoint ends when it ends."""
    reddit = Reddit(httpx2.Response(503))
    client = reddit.client()
    with pytest.raises(UpstreamUnavailable):
        client.send(PAGE)
    reddit.refusal = None
    assert client.send(PAGE).status == 200


def test_a_token_request_that_breaks_off_does_not_lock_out_the_next() -> None:
    """The lock must be free again after a connection error in the middle of the flow."""
    reddit = Reddit()
    client = reddit.client()

    def fail() -> None:
        raise httpx2.ConnectError("refused")

    reddit.pause = fail
    with pytest.raises(UpstreamUnavailable):
        client.send(PAGE)
    reddit.pause = lambda: None
    assert client.send(PAGE).status == 200


def test_without_credentials_there_is_nothing_to_sign_with() -> None:
    """The source is off then, and says so elsewhere."""
    assert provider("reddit").auth() is None
    assert provider("reddit", client_id="me").auth() is None


def test_tasks_of_a_loop_wait_for_one_token_request_without_blocking_it() -> None:
    """A lock that the loop's thread waits for, while a task of the same loop has it, is never free."""
    reddit = Reddit()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0.01)
        return reddit(request)

    client = reddit.client(answer)

    async def ask_all() -> list[int]:
        return [one.status for one in await asyncio.gather(*(client.exchange(PAGE) for _ in range(8)))]

    assert asyncio.run(drive(ask_all())) == [200] * 8
    assert len(reddit.asked) == 1
