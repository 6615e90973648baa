"""What an upstream may cost us: bytes, memory and time, of every request that we make."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tbcache.models import HttpRequest, RawResponse
from tbcache.models.error import UpstreamAuthError, UpstreamError, UpstreamPayloadError, UpstreamUnavailable
from tbcache.providers.client import MAX_REQUESTS, HttpClient
from tests.providers.kit import provider
from tests.providers.wire import Answer, always, answering, ok

pytestmark = pytest.mark.usefixtures("every_driver")

MAX = 256 * 1024
ZEROS = bytes(65536)
BOMB = gzip.compress(bytes(64 * MAX), 6)
#: A packed body of nothing but empty blocks: it unpacks to nothing, however long it is.
NOTHING = zlib.compressobj(wbits=31).flush(zlib.Z_FULL_FLUSH) + b"\0\0\0\xff\xff" * 1000


class SignIn(httpx2.Auth):
    """As a user may write one: fetches a token and reads it, then signs with it."""

    requires_response_body = True

    def __init__(self, url: str) -> None:
        self._url = url

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        response = yield httpx2.Request("POST", f"{self._url}/token")
        request.headers["Authorization"] = response.json()["token"]
        yield request


def _auth(which: str, url: str) -> httpx2.Auth | None:
    if which == "reddit's token":
        return provider("reddit", client_id="me", client_secret="hush-hush", auth_url=url).auth()
    return SignIn(url) if which == "a token of one's own" else None


@contextmanager
def asking(which: str, answer: Answer, total_timeout: float = 5.0) -> Iterator[Callable[[], RawResponse]]:
    """Sends a request that meets ``answer``, or whose token's request does."""
    with answering(answer) as url:
        client = HttpClient("news", auth=_auth(which, url), total_timeout=total_timeout, max_bytes=MAX)

        try:
            yield lambda: client.send(HttpRequest("GET", f"{url}/page"))
        finally:
            client.close()


TOKENS = ["reddit's token", "a token of one's own"]
ENDLESS = {
    "plain": always(ok(), again=ZEROS),
    "in chunks": always(ok("transfer-encoding: chunked"), again=b"10000\r\n" + ZEROS + b"\r\n"),
    "a bomb": always(ok("content-encoding: gzip", f"content-length: {len(BOMB)}"), BOMB),
    "packed, nothing in it": always(ok("content-encoding: gzip"), NOTHING, again=b"\0\0\0\xff\xff" * 10000),
    "packed, then more": always(ok("content-encoding: gzip"), gzip.compress(b"{}"), again=ZEROS),
}


@pytest.mark.parametrize("which", ["a page", *TOKENS])
@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_end_is_cut_and_never_held(which: str, answer: Answer) -> None:
    """Read whole, 2 MB of a packed answer or 12 s of a plain one take the memory of the machine."""
    with asking(which, answer) as ask:
        with pytest.raises(UpstreamError):
            ask()  # what is loaded with the first request does not count
        tracemalloc.start()
        try:
            start = time.monotonic()
            with pytest.raises(UpstreamPayloadError, match="larger than 262144 bytes"):
                ask()
            assert time.monotonic() - start < 4.5
            assert tracemalloc.get_traced_memory()[1] < 6 * MAX
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "bomb\x7f"])
def test_an_encoding_that_was_not_asked_for_is_refused_unread(encoding: str) -> None:
    """Packed in packed, each byte of an answer may cost a million; none of it has to be unpacked."""
    with (
        asking("a page", always(ok(f"content-encoding: {encoding}"), b"x" * 100)) as ask,
        pytest.raises(UpstreamPayloadError, match=r"compressed as .* and gzip was asked for"),
    ):
        ask()


@pytest.mark.parametrize(
    ("head", "again"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\n", b"x-header: more\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nx-header: ", ZEROS.replace(b"\0", b"x")),
        (ok("transfer-encoding: chunked") + b"0\r\n", b"x-trailer: more\r\n" * 100),
        (ok("transfer-encoding: chunked") + b"1;", ZEROS.replace(b"\0", b"x")),
    ],
    ids=["answers before the answer", "headers", "a header", "trailers", "a chunk's extension"],
)
def test_what_surrounds_an_answer_has_an_end_too(head: bytes, again: bytes) -> None:
    """A thread that reads headers for ever serves nobody, and its limits are held for nothing."""
    with asking("a page", always(head, again=again), total_timeout=0.3) as ask:
        start = time.monotonic()
        with pytest.raises(UpstreamUnavailable):
            ask()
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("which", TOKENS)
def test_a_token_that_drips_ends_at_the_total_timeout(which: str) -> None:
    """The time is that of the whole exchange, whatever was asked for on the way."""

    def drip(connection: object, _: bytes) -> None:
        connection.sendall(ok("content-length: 9000"))  # type: ignore[attr-defined]
        while True:
            time.sleep(0.05)
            connection.sendall(b"x")  # type: ignore[attr-defined]

    with asking(which, drip, total_timeout=0.3) as ask:
        start = time.monotonic()
        with pytest.raises(UpstreamUnavailable, match=r"no answer within 0\.3 s"):
            ask()
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("which", TOKENS)
def test_a_token_request_is_not_redirected(which: str) -> None:
    """It carries the secret itself; followed, it would carry it to whoever the answer names."""
    seen = []

    def elsewhere(connection: object, request: bytes) -> None:
        seen.append(request.split()[1])
        # The server ends each connection: unsaid, the client might use it once more as it ends.
        head = (
            b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\nconnection: close\r\ncontent-length: 16\r\n\r\n"
        )
        connection.sendall(head + b'{"token":"abc"}\n')  # type: ignore[attr-defined]

    with asking(which, elsewhere) as ask:
        if which == "reddit's token":
            with pytest.raises(UpstreamPayloadError, match="redirected to /elsewhere"):
                ask()
        else:
            assert ask().status == 302
    assert b"/elsewhere" not in seen


def test_a_sign_in_that_never_ends_is_ended() -> None:
    """Each of its requests is one that no limit of ours has counted."""
    seen = []

    class Endless(httpx2.Auth):
        def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
            while True:
                yield request

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(401)

    client = HttpClient("news", auth=Endless(), transport=httpx2.MockTransport(handler))
    with pytest.raises(UpstreamAuthError, match="sign-in takes more than"):
        client.send(HttpRequest("GET", "https://api.test/page"))
    assert len(seen) == MAX_REQUESTS


def test_a_sign_in_of_httpx2s_own_works() -> None:
    """A source may use any: this one reads the refusal and asks again."""
    seen = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get("authorization", ""))
        challenge = {"www-authenticate": 'Digest realm="r", nonce="n", qop="auth"', "set-cookie": "a=b"}
        return httpx2.Response(200) if seen[-1] else httpx2.Response(401, headers=challenge)

    auth = httpx2.DigestAuth("me", "pass word")
    client = HttpClient("news", auth=auth, transport=httpx2.MockTransport(handler))
    assert client.send(HttpRequest("GET", "https://api.test/page")).status == 200
    assert [one[:6] for one in seen] == ["", "Digest"]


def test_nothing_of_an_answer_stays_for_the_next_request() -> None:
    """Cookies would pile up for as long as a worker lives, and tell its requests apart."""
    seen = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get("cookie"))
        return httpx2.Response(200, headers=[("set-cookie", f"c{n}={n}; Max-Age=9999") for n in range(50)])

    client = HttpClient("news", transport=httpx2.MockTransport(handler))
    for _ in range(2):
        client.send(HttpRequest("GET", "https://api.test/page"))
    assert seen == [None, None]


def test_a_packed_answer_is_read() -> None:
    """Most upstreams pack what is asked for so."""
    seen = []
    body = b'{"a": "' + b"long " * 40000 + b'"}'

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers["accept-encoding"])
        return httpx2.Response(200, headers={"content-encoding": "gzip"}, content=gzip.compress(body))

    client = HttpClient("news", transport=httpx2.MockTransport(handler))
    found = client.send(HttpRequest("GET", "https://api.test/page"))
    assert found.body == body
    assert "content-encoding" not in found.headers
    assert seen == ["gzip"]
