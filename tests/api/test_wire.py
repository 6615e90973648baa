"""What strangers send: halves of requests, endless ones, and what is no request at all."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import random
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import pytest

from tests.server import wait_until

SECONDS = 0.7
#: Of one client half of them.
MOST = 120

PROGRAM = f"""
from tbcache.io import web_protocol
from tbcache.api import server

web_protocol.SECONDS.update(head={SECONDS}, body={SECONDS}, rest={SECONDS} / 2, refused={SECONDS} / 2)
server.most_others, server.IDLE_SECONDS = lambda: {MOST}, {SECONDS}
server.serve("127.0.0.1", 0, on_ready=lambda url: print(url, flush=True))
"""

CLEAR = b"POST /api/monitoring/cache/clear HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ASK = CLEAR.replace(b"POST /api/monitoring/cache/clear", b"GET /api/sentiment/reddit/AAPL")
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

#: What each begins with, and the status it is refused with.
REFUSED = {
    b"\x00\x01\x02 no HTTP at all\r\n\r\n": 400,
    b"GET /healthz\r\n\r\n": 400,
    b"GET /healthz HTTP/1.1\r\n\r\n": 400,
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n": 400,
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n": 400,
    b"GET /h\xc3\xa4lthz HTTP/1.1\r\nHost: localhost\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000: 431,
    CLEAR + b"Content-Length: -1\r\n\r\n": 400,
    CLEAR + b"Content-Length: 99999999999\r\n\r\n": 413,
    CLEAR + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}": 400,
    CLEAR + b"Transfer-Encoding: gzip\r\n\r\n": 501,
    CLEAR + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n": 400,
    CLEAR + b"Transfer-Encoding: chunked\r\n\r\n" + (b"2000\r\n" + b"x" * 8192 + b"\r\n") * 3: 413,
    CLEAR + b"Content-Length: 2\r\n\r\n\xff\xfe": 422,
    ASK + b"Transfer-Encoding: chunked\r\n\r\n" + (b"2000\r\n" + b"x" * 8192 + b"\r\n") * 3: 422,
    b"GET [ HTTP/1.1\r\nHost: localhost\r\n\r\n": 404,
    b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n": 404,
    b"GET http://evil.example.com/ HTTP/1.1\r\nHost: localhost\r\n\r\n": 404,
    b"GET /%zz%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n": 404,
    b"GET /api/monitoring/usage?days=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n": 422,
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n": 404,
    b"OPTIONS /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n": 405,
    b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n": 404,
    b"TRACE /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n": 405,
    b"GET /healthz HTTP/1.1\r\nHost: evil.example.com\r\n\r\n": 403,
    b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n": 404,
}


@pytest.fixture(scope="module")
def api() -> Iterator[tuple[int, subprocess.Popen[str], IO[str]]]:
    """The API in a process of its own, with short times: its port, the process, what it says."""
    with tempfile.TemporaryFile("w+") as errors:
        # Without Redis: its absence is one more error to be told in the one form.
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={"REDIS_URL": "redis://127.0.0.1:1/0"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline().rpartition(":")[2])
            # What is made once, on the first use, takes longer than the times above.
            for path in ("/nowhere", "/api/monitoring/cache/clear?pattern=x", "/docs"):
                ask(port, path, "POST")
            yield port, process, errors
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def port(api: tuple[int, subprocess.Popen[str], IO[str]]) -> Iterator[int]:
    """The API's port; afterwards it must still serve, and have nothing to say."""
    port, process, errors = api
    yield port
    assert process.poll() is None
    assert ask(port) == 200
    errors.seek(0)
    assert errors.read() == ""


def ask(port: int, path: str = "/healthz", method: str = "GET") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    with contextlib.closing(connection):
        connection.request(method, path)
        return connection.getresponse().status


def connect(port: int, data: bytes = b"", address: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 30, (address, 0))
    # The server may have refused what it has seen of it, and closed.
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)
    return connection


def read(connections: list[socket.socket], seconds: float = 30.0) -> list[bytes]:
    """What comes on each until it is closed."""
    answers, give_up = dict.fromkeys(connections, b""), time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for one in connections:
            selector.register(one, selectors.EVENT_READ)
        while selector.get_map():
            assert time.monotonic() < give_up, f"{len(selector.get_map())} are still open: {answers}"
            for key, _ in selector.select(0.1):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                data = b""
                with contextlib.suppress(ConnectionError):
                    data = one.recv(65536)
                answers[one] += data
                if not data:
                    selector.unregister(one)
                    one.close()
    return list(answers.values())


class Received(io.BytesIO):
    """Bytes as ``http.client`` wants them."""

    def makefile(self, mode: str) -> Received:
        return self

    def close(self) -> None:
        """There may be another answer in them."""


def statuses(answer: bytes) -> list[int]:
    """The statuses of the answers, each of whose errors must have the one form."""
    stream, found = Received(answer), []
    while stream.tell() < len(answer):
        response = http.client.HTTPResponse(stream)  # type: ignore[arg-type]
        response.begin()
        found.append(response.status)
        body = response.read()
        if response.status >= 400:
            assert response.headers["Content-Type"] == "application/problem+json", answer
            assert response.headers["Cache-Control"] == "no-store"
            told = json.loads(body)
            assert list(told)[:5] == ["type", "status", "title", "detail", "error"], answer
            assert (told["status"], told["detail"]) == (response.status, told["error"])
    return found


def test_every_refusal_has_the_one_form(port: int) -> None:
    """Also those that the web server makes itself: a client reads one form, and nothing else."""
    answers = read([connect(port, request) for request in REFUSED])
    assert {request: statuses(answer)[0] for request, answer in zip(REFUSED, answers, strict=True)} == REFUSED


def test_malformed_requests_get_an_error_or_are_closed(port: int) -> None:
    """Nothing that anyone sends makes it fall, answer in another form, or write a traceback."""
    chance = random.Random(8)
    requests = []
    for whole in chance.choices([*REFUSED, *[GET] * 10], k=200):
        data = bytearray(whole[:2000])
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data))
            data[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        requests.append(bytes(data))
    with ThreadPoolExecutor(MOST // 2 - 10) as pool:
        answers = list(pool.map(lambda data: statuses(read([connect(port, data)])[0]), requests))
    assert {status for answer in answers for status in answer} >= {200, 400, 404, 408}


def test_half_open_connections_are_cut_while_others_are_served(port: int) -> None:
    """Fifty sockets that say nothing, or never to the end, must not be all that it takes."""
    began = time.monotonic()
    halves = (
        b"",
        b"G",
        GET[:40],
        CLEAR + b"Content-Length: 9\r\n\r\n{",
        CLEAR + b"Transfer-Encoding: chunked\r\n\r\n",
    )
    connections = [connect(port, half) for half in halves for _ in range(10)]
    assert ask(port) == 200
    answers = [statuses(answer) for answer in read(connections)]
    assert SECONDS * 0.9 < time.monotonic() - began < SECONDS + 3
    assert answers == [[]] * 10 + [[408]] * 40


def test_who_drips_is_cut_as_well(port: int) -> None:
    """A byte now and then keeps a connection from being idle, but not from being useless."""
    heads = {
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ": 408,
        GET.replace(b"close", b"keep-alive") + GET[:9]: 200,
        CLEAR + b"Content-Length: 10000\r\n\r\n": 408,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n": 200,
    }
    dripping = {connect(port, head): status for head, status in heads.items()}
    began = time.monotonic()
    while dripping:
        assert time.monotonic() - began < SECONDS + 4
        for connection, status in list(dripping.items()):
            if not sends(connection, b"x"):
                del dripping[connection]
                with contextlib.closing(connection), contextlib.suppress(ConnectionError):
                    assert statuses(connection.recv(65536))[0] == status
        time.sleep(0.02)
    assert time.monotonic() - began > SECONDS / 2


def test_an_endless_body_is_cut(port: int) -> None:
    """As fast as it may come: what is refused is not read to its end, which never comes."""
    connection = connect(port, CLEAR + b"Transfer-Encoding: chunked\r\n\r\n")
    began = time.monotonic()
    with contextlib.closing(connection):
        while sends(connection, b"4000\r\n" + b"x" * 0x4000 + b"\r\n"):
            assert time.monotonic() - began < SECONDS + 4


def sends(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except ConnectionError:
        return False
    return True


def test_too_many_connections_are_told_so(port: int) -> None:
    """In the one form, and those that are there go on. No client takes all of them."""

    def are_told() -> bool:
        mine = [connect(port) for _ in range(MOST // 2 + 10)]
        others = [connect(port, b"", f"127.0.0.{n}") for n in range(3, 11) for _ in range(16)]
        told = [statuses(answer) for answer in read(mine + others)]
        # On a slow machine the first may be cut before the last are there.
        return [429] in told[MOST // 2 : len(mine)] and told[len(mine)] == [] and [503] in told[len(mine) :]

    assert wait_until(are_told)


def test_a_stop_does_not_wait_for_half_a_request(
    api: tuple[int, subprocess.Popen[str], IO[str]],
) -> None:
    """And says so in the one form. The last test here: it ends the process."""
    port, process, errors = api
    connection = connect(port, CLEAR + b"Content-Length: 9\r\n\r\n{")
    assert ask(port) == 200
    process.terminate()
    assert statuses(read([connection])[0]) == [503]
    assert wait_until(lambda: process.poll() is not None)
    assert process.returncode == 0
    errors.seek(0)
    assert errors.read() == ""
