"""The drivers under which the HTTP client keeps to the same."""

from __future__ import annotations

import asyncio

import pytest

from tbcache.io.loop import drive
from tbcache.models import HttpRequest, RawResponse
from tbcache.providers.client import HttpClient


@pytest.fixture(params=["blocking", "asyncio"])
def each_driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """``HttpClient.send`` blocks, or awaits its coroutine in an event loop of its own."""

    def send(self: HttpClient, request: HttpRequest) -> RawResponse:
        return asyncio.run(drive(self.exchange(request)))

    if request.param == "asyncio":
        monkeypatch.setattr(HttpClient, "send", send)
