"""The places that clients share: of connections, and of what takes long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import NamedTuple

import pytest
from fastapi import HTTPException
from starlette.types import Receive, Scope, Send

from tbcache.api.crew import Crew
from tbcache.io import web_protocol
from tbcache.io.web_place import WebPlaces
from tbcache.io.web_protocol import APART, MOST_AHEAD
from tbcache.io.web_server import WebServer, configure, listen
from tests.server import wait_until


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Half of it comes at once; the rest of `/stream` when all of the request's body has come, and that of
    `/wait` when nobody listens any more."""
    apart = scope["state"][APART] if scope["path"] == "/stream" else contextlib.nullcontext
    with apart():
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"go", "more_body": True})
        while scope["path"] == "/stream" and (await receive()).get("more_body"):
            pass
        while scope["path"] == "/wait" and (await receive())["type"] != "http.disconnect":
            pass
    await send({"type": "http.response.body", "body": b"od"})


class Place(NamedTuple):
    """A server with places, and who connects to it."""

    places: WebPlaces
    port: int
    opened: contextlib.ExitStack
    web: WebServer

    def connect(self, data: bytes = b"") -> socket.socket:
        client = self.opened.enter_context(socket.create_connection(("127.0.0.1", self.port), 60))
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
        return client

    def is_taken(self, count: int) -> bool:
        return self.places.answered._taken.total() == count


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[WebPlaces], Place]]:
    for phase in ("head", "body", "refused"):
        monkeypatch.setitem(web_protocol.SECONDS, phase, 600.0)
    with contextlib.ExitStack() as stack:

        def start(places: WebPlaces) -> Place:
            listener, url = listen("the test", "127.0.0.1", 0)
            ready = threading.Event()
            config = configure(answer, places, log_config=None, lifespan="off", timeout_keep_alive=600)
            web = WebServer(config, ready.set, is_abrupt=True)
            thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
            thread.start()
            stack.callback(thread.join, 60)
            stack.callback(setattr, web, "should_exit", True)
            assert ready.wait(60)
            port, opened = int(url.rpartition(":")[2]), stack.enter_context(contextlib.ExitStack())
            return Place(places, port, opened, web)

        yield start


def told(client: socket.socket) -> bytes:
    """The beginning of what comes; nothing where the connection is closed without a word."""
    with contextlib.suppress(ConnectionError):
        return client.recv(12)
    return b""


def read_all(client: socket.socket) -> bytes:
    """All that comes until the server has said the last of it."""
    with contextlib.suppress(ConnectionError), client.makefile("rb") as stream:
        return stream.read()
    return b""


def test_so_much_is_read_ahead_of_an_answer_and_no_more(serve: Callable[[WebPlaces], Place]) -> None:
    """Who sends on while he waits would fill the memory of the server otherwise."""
    there = serve(WebPlaces(2))
    client = there.connect(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    assert told(client) == b"HTTP/1.1 200"
    (connection,) = there.web.server_state.connections
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    wait_until(lambda: connection.conn.trailing_data[0])
    assert not connection.flow.read_paused
    client.sendall(b"x" * 2 * MOST_AHEAD)
    wait_until(lambda: connection.flow.read_paused)


def test_who_is_one_too_many_is_told_and_more_are_cut(serve: Callable[[WebPlaces], Place]) -> None:
    """Each that is told costs a file for a while, as each that is answered does."""
    there = serve(WebPlaces(2))
    there.connect()
    wait_until(lambda: there.is_taken(1))
    refusals = [read_all(there.connect()) for _ in range(3)]
    assert [one[:12] for one in refusals] == [b"HTTP/1.1 429", b"HTTP/1.1 429", b""]
    assert all(b"\r\nretry-after: 1\r\n" in one for one in refusals[:2])


def test_a_proxy_that_is_trusted_may_have_all_connections(serve: Callable[[WebPlaces], Place]) -> None:
    """They are of many."""
    there = serve(WebPlaces(2, [ip_network("127.0.0.1")]))
    for _ in range(2):
        there.connect()
    wait_until(lambda: there.is_taken(2))
    assert told(there.connect()) == b"HTTP/1.1 503"


def test_an_answer_without_an_end_takes_no_place_while_it_lasts(serve: Callable[[WebPlaces], Place]) -> None:
    """A page that is watched is bounded by the number of those; its connection may be used again."""
    there = serve(WebPlaces(2))
    stream = there.connect(b"POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n")
    assert told(stream) == b"HTTP/1.1 200"
    assert there.is_taken(0)
    stream.sendall(b"the end")
    wait_until(lambda: there.is_taken(1))
    stream.close()
    wait_until(lambda: there.is_taken(0))


def test_no_client_asks_all_that_is_asked_of_the_past() -> None:
    """Each question takes a core for seconds: who asks many has some of them refused."""
    entered, go_on = threading.Semaphore(0), threading.Event()

    def slow() -> bool:
        entered.release()
        return go_on.wait(60)

    async def ask() -> None:
        crew = Crew(2, "questions")
        asked = asyncio.create_task(crew.run("one", slow))
        try:
            await asyncio.to_thread(entered.acquire)
            with pytest.raises(HTTPException) as refused:
                await crew.run("one", slow)
            assert refused.value.status_code == 429
        finally:
            go_on.set()
        assert await asked
        assert await crew.run("one", slow)

    asyncio.run(ask())
