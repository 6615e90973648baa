"""Who asks for an answer, and hangs up before it is there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Request

import tbcache
from tbcache.api import create_app
from tbcache.api.asked import while_asked
from tbcache.api.crew import Places
from tbcache.fetch import get_pipeline
from tbcache.io.asker import tell_load, tell_wait
from tbcache.io.web_server import WebServer, configure, listen
from tbcache.settings import get_settings
from tbcache.testing import RunningSimulator, simulator
from tests.server import Server, wait_until


class Api(NamedTuple):
    app: FastAPI
    url: str

    @property
    def waiting(self) -> int:
        """How many wait for an answer."""
        return int(self.app.state.context.waiting.shares._taken.total())

    def ask(self, symbol: str, patience: float) -> httpx2.Response:
        path = f"{self.url}/api/sentiment/stocktwits/{symbol}?patience={patience}"
        return httpx2.get(path, timeout=60, trust_env=False)

    @contextlib.contextmanager
    def asking(self, symbol: str, patience: float) -> Iterator[socket.socket]:
        """Somebody has asked, who hangs up."""
        port = int(self.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 60) as client:
            path = f"/api/sentiment/stocktwits/{symbol}?patience={patience}"
            lines = f"GET {path} HTTP/1.1", "Host: localhost", "\r\n"
            client.sendall("\r\n".join(lines).encode())
            yield client


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningSimulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def api(upstream: RunningSimulator, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API on a port, whose source has a slot each 28 s."""
    own = {"REDIS_URL": server.url, "TBCACHE_REDIS_TIMEOUT": "10", "TBCACHE_STOCKTWITS__LIMITS": "1/28s"}
    for name, value in {**upstream.variables, **own}.items():
        monkeypatch.setenv(name, value)
    upstream.reset()
    app, (listener, url) = create_app(get_settings()), listen("the API", "127.0.0.1", 0)
    ready = threading.Event()
    web = WebServer(configure(app, log_config=None), ready.set)
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
    thread.start()
    assert ready.wait(60)
    yield Api(app, url)
    web.should_exit = True
    thread.join(60)
    assert not thread.is_alive()
    upstream.clear_faults()
    get_pipeline().close()
    tbcache.get_usage_monitor().leave()


def test_who_hangs_up_while_waiting_is_waited_for_no_more(api: Api, upstream: RunningSimulator) -> None:
    """A bot whose client gives up sooner than its patience would pay for answers that it never sees."""
    assert api.ask("AAPL", 10).json()["origin"] == "live"
    for ahead in (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with api.asking("GME", 30) as client:
            wait_until(lambda: api.waiting == 1, 20)
            client.sendall(ahead)
        # The slot of that ask comes free only after 28 s.
        wait_until(lambda: api.waiting == 0, 20)
    assert upstream.stats()["stocktwits"]["accepted"] == 1


def test_what_is_being_loaded_ends_for_the_cache(api: Api, upstream: RunningSimulator) -> None:
    """It is paid for: who asks next must not pay again."""
    upstream.faults(stocktwits={"latency": [1.5, 1.5]})
    with api.asking("AAPL", 10):
        wait_until(lambda: upstream.stats()["stocktwits"]["accepted"] == 1, 20)
    wait_until(lambda: api.waiting == 0, 20)
    found = api.ask("AAPL", 0)
    assert (found.status_code, found.json().get("origin")) == (200, "cache")
    assert upstream.stats()["stocktwits"]["accepted"] == 1


@pytest.mark.parametrize("is_gone_early", [True, False])
def test_who_hangs_up_is_not_waited_for_after_a_load_that_was_given_up(is_gone_early: bool) -> None:
    """Where a load comes too late for its slot it waits for another, which nobody would get."""
    gone, begun = asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, str]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def work() -> None:
        tell_wait()
        tell_load()
        if is_gone_early:
            gone.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        tell_wait()
        begun.set()
        await asyncio.Event().wait()

    async def ask() -> None:
        request, places = Request({"type": "http", "client": ("192.0.2.1", 1)}, receive), Places(2, "answers")
        asked = asyncio.create_task(while_asked(request, places, work))
        if not is_gone_early:
            await begun.wait()
            gone.set()
        with pytest.raises(HTTPException) as told:
            await asyncio.wait_for(asked, 20)
        assert (told.value.status_code, begun.is_set()) == (408, not is_gone_early)

    asyncio.run(ask())
