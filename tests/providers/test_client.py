"""The HTTP client: what it sends, and what it does not wait for."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tbcache.io import fork, utc_now
from tbcache.io.http import tls_context
from tbcache.models import HttpRequest
from tbcache.models.error import ConfigurationError, UpstreamError, UpstreamPayloadError, UpstreamUnavailable
from tbcache.providers.client import HttpClient
from tests.providers.kit import provider

pytestmark = pytest.mark.usefixtures("every_driver")

PAGE = HttpRequest("GET", "https://api.test/page", {"q": "$A&B"}, {"User-Agent": "bot/1"})


def client(handler: object, **options: object) -> HttpClient:
    return HttpClient("news", transport=httpx2.MockTransport(handler), **options)  # type: ignore[arg-type]


@contextmanager
def upstream(*parts: bytes, every: float = 0.0) -> Iterator[str]:
    """A server that answers each connection with ``parts``, the last of them again ``every`` seconds."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                drip(connection)

    def drip(connection: socket.socket) -> None:
        try:
            connection.recv(65536)
            for part in parts:
                connection.sendall(part)
            while every and not stop.wait(every):
                connection.sendall(parts[-1])
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/page"
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)


def test_certificates_are_read_once_for_the_clients_of_all_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read them takes as long as many requests."""
    made, create = list[int](), httpx2.create_ssl_context
    monkeypatch.setattr(httpx2, "create_ssl_context", lambda: made.append(1) or create())
    tls_context.cache_clear()
    for _ in range(2):
        client(lambda request: httpx2.Response(200)).send(PAGE)
    assert made == [1]


def test_a_request_goes_out_as_it_was_built() -> None:
    """What the provider wrote is what the upstream reads."""
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(418, headers={"X-Left": "3"}, content=b"tea")

    before = utc_now()
    found = client(handler).send(PAGE)
    assert str(seen[0].url) == "https://api.test/page?q=%24A%26B"
    assert seen[0].headers["user-agent"] == "bot/1"
    assert (found.status, found.headers["x-left"], found.body) == (418, "3", b"tea")
    assert before <= found.received_at <= utc_now()


@pytest.mark.parametrize(
    ("source", "own", "header", "value"),
    [
        ("twitter", {"bearer_token": "s3cret"}, "authorization", "Bearer s3cret"),
        ("news", {"api_key": "s3cret\n"}, "x-api-key", "s3cret"),
        ("options", {"api_key": "s3cret"}, "authorization", "Bearer s3cret"),
        ("stocktwits", {"access_token": "s3cret"}, "authorization", "OAuth s3cret"),
    ],
)
def test_credentials_are_put_on_at_the_last_moment(
    source: str, own: dict[str, str], header: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that is logged, queued or shown must not carry a key."""
    caplog.set_level(logging.DEBUG)
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    auth = provider(source, **own).auth()
    HttpClient(source, auth=auth, transport=httpx2.MockTransport(handler)).send(PAGE)
    assert seen[0].headers[header] == value
    assert "s3cret" not in f"{PAGE} {auth!r} {vars(auth)} {seen[0]!r}" + caplog.text


@pytest.mark.parametrize("source", ["twitter", "news", "options", "stocktwits"])
def test_without_credentials_nothing_is_signed(source: str) -> None:
    """Stocktwits answers anyone; the others are off."""
    assert provider(source).auth() is None


@pytest.mark.parametrize("secret", ["", " ", "pass\nword", "pässword"])
def test_a_credential_that_no_header_holds_is_refused_by_name(secret: str) -> None:
    """Sent, it would end in an error that quotes it."""
    with pytest.raises(ConfigurationError, match="TBCACHE_TWITTER__BEARER_TOKEN") as caught:
        provider("twitter", bearer_token=secret).auth()
    assert not secret.strip() or secret not in str(caught.value)


def test_a_redirect_is_an_answer() -> None:
    """Followed to another host, it would carry the credentials there."""
    seen: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.url.host)
        return httpx2.Response(302, headers={"location": "https://evil.test/"})

    assert client(handler).send(PAGE).status == 302
    assert seen == ["api.test"]


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ConnectError("refused"),
        httpx2.ConnectTimeout("slow"),
        httpx2.ReadTimeout("slow"),
        httpx2.ReadError(""),
        httpx2.RemoteProtocolError("gone"),
        httpx2.LocalProtocolError("Illegal header value b'Bearer s3cret'"),
        httpx2.ProxyError("no"),
    ],
)
def test_every_failure_on_the_way_is_an_unavailable_upstream(error: Exception) -> None:
    """Callers know upstream errors, and no library's own; its words may quote a credential."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        raise error

    with pytest.raises(UpstreamUnavailable) as caught:
        client(handler).send(PAGE)
    assert caught.value.source == "news"
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["nonsense", "ftp://api.test/", "http://[::1/"])
def test_an_address_that_cannot_be_asked_is_an_unavailable_upstream(url: str) -> None:
    """A typo in a base URL must not kill a worker, and whoever has set none is told how."""
    with pytest.raises(UpstreamError) as caught, _closing(HttpClient("news")) as plain:
        plain.send(HttpRequest("GET", url))
    assert ("set TBCACHE_NEWS__BASE_URL, or base_url among" in str(caught.value)) == ("[" not in url)


@contextmanager
def _closing(opened: HttpClient) -> Iterator[HttpClient]:
    try:
        yield opened
    finally:
        opened.close()


def test_nobody_there_is_an_unavailable_upstream() -> None:
    """The commonest failure of all, over a real socket."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    with _closing(HttpClient("news")) as plain, pytest.raises(UpstreamUnavailable, match="no connection"):
        plain.send(HttpRequest("GET", url))


def test_an_answer_above_the_limit_is_cut_off() -> None:
    """An endless answer must not fill the memory of a worker, packed or not."""
    with pytest.raises(UpstreamPayloadError, match="larger than 1000 bytes"):
        client(lambda _: httpx2.Response(200, content=b"x" * 1001), max_bytes=1000).send(PAGE)
    packed = httpx2.Response(200, headers={"content-encoding": "gzip"}, content=gzip.compress(b"x" * 1001))
    with pytest.raises(UpstreamPayloadError, match="larger than 1000 bytes"):
        client(lambda _: packed, max_bytes=1000).send(PAGE)
    assert (
        len(client(lambda _: httpx2.Response(200, content=b"x" * 1000), max_bytes=1000).send(PAGE).body)
        == 1000
    )


def test_an_answer_packed_wrongly_is_a_payload_error() -> None:
    """It came, and cannot be read: that is no outage."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=_Bytes(b"not gzip"))

    with pytest.raises(UpstreamPayloadError, match="compressed"):
        client(handler).send(PAGE)


class _Bytes(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


@pytest.mark.parametrize(
    "parts",
    [
        (b"HTTP/1.1 200 OK\r\n", b"x-drip: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n", b"x"),
    ],
    ids=["headers", "body"],
)
def test_an_answer_that_drips_ends_at_the_total_timeout(parts: tuple[bytes, ...]) -> None:
    """Each byte comes in time, and the thread would be held for as long as the upstream likes."""
    with upstream(*parts, every=0.05) as url, _closing(HttpClient("news", total_timeout=0.4)) as plain:
        start = time.monotonic()
        with pytest.raises(UpstreamUnavailable, match=r"no answer within 0\.4 s"):
            plain.send(HttpRequest("GET", url))
        assert 0.35 < time.monotonic() - start < 1.5


def test_the_lock_of_the_pool_is_one_that_no_interrupt_leaves_taken() -> None:
    """All further requests of the source would wait for it for ever."""
    assert hasattr(httpx2.Client()._transport._pool, "_optional_thread_lock")  # type: ignore[attr-defined]
    with _closing(HttpClient("news")) as plain:
        pool = plain.blocking()._transport._pool  # type: ignore[attr-defined]
        assert type(pool._optional_thread_lock) is type(threading.RLock())


def test_a_silent_upstream_ends_at_the_read_timeout() -> None:
    """A connection that is open and says nothing is the slowest failure."""
    with (
        upstream(b"HTTP/1.1 200 OK\r\n", every=9) as url,
        _closing(HttpClient("news", read_timeout=0.2)) as plain,
        pytest.raises(UpstreamUnavailable, match="stalled"),
    ):
        plain.send(HttpRequest("GET", url))


def test_an_answer_cut_off_on_the_wire_is_an_unavailable_upstream() -> None:
    """The connection broke; what came so far is nobody's answer."""
    part = b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n{"
    with upstream(part) as url, _closing(HttpClient("news")) as plain, pytest.raises(UpstreamUnavailable):
        plain.send(HttpRequest("GET", url))


def test_a_real_answer_is_read_over_a_real_socket() -> None:
    """The bounded sockets must still carry ordinary traffic, again after a close."""
    part = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    with upstream(part) as url, _closing(HttpClient("news")) as plain:
        assert plain.send(HttpRequest("GET", url)).body == b"{}"
        plain.close()
        assert plain.send(HttpRequest("GET", url)).body == b"{}"


@pytest.mark.parametrize("letters", ["café".encode(), b"caf\xe9"], ids=["utf-8", "latin-1"])
def test_a_header_may_hold_any_letter(letters: bytes) -> None:
    """A proxy's name, or a cookie: the answer is paid for, and what a 429 says closes the source."""
    head = b"HTTP/1.1 429 X\r\ncontent-length: 2\r\nretry-after: 7\r\nx-server: " + letters
    part = head + b"\r\nconnection: close\r\n\r\n{}"
    with upstream(part) as url, _closing(HttpClient("news")) as plain:
        answer = plain.send(HttpRequest("GET", url))
    assert (answer.status, answer.headers["retry-after"], answer.body) == (429, "7", b"{}")
    assert answer.headers["x-server"] == "café"


def test_nothing_is_opened_before_the_first_request() -> None:
    """Importing and wiring must cost no socket and no certificates."""
    plain = HttpClient("news")
    assert plain._client is None
    plain.close()


def test_a_forked_process_opens_connections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on one socket would read each other's answers."""
    plain = client(lambda _: httpx2.Response(200))
    plain.send(PAGE)
    parent = plain._client
    monkeypatch.setattr(fork, "_RENEWABLE", {*fork._RENEWABLE} & {plain})
    fork._after_fork()
    plain.send(PAGE)
    assert plain._client is not parent


@pytest.mark.parametrize("parts", [(), (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",)])
def test_a_request_that_was_sent_and_not_answered_is_told_from_one_that_was_not_sent(
    parts: tuple[bytes, ...],
) -> None:
    """The one may have been served, and billed; the other was not."""
    with upstream(*parts) as url, pytest.raises(UpstreamUnavailable) as caught:
        HttpClient("twitter", secrets=["answer"]).send(HttpRequest("GET", url))
    assert caught.value.is_unanswered
    with pytest.raises(UpstreamUnavailable) as caught:
        HttpClient("twitter").send(HttpRequest("GET", url))
    assert not caught.value.is_unanswered


def test_a_request_that_stalls_is_one_that_was_not_answered() -> None:
    """Its answer may be on the way, however long it takes; a secret in what is said of it changes nothing."""
    with upstream(b"", every=60.0) as url, pytest.raises(UpstreamUnavailable) as caught:
        HttpClient("twitter", secrets=["stalled"], read_timeout=0.05).send(HttpRequest("GET", url))
    assert "stalled" not in caught.value.message
    assert caught.value.is_unanswered


def test_a_provider_written_for_the_old_name_of_its_settings_still_signs() -> None:
    """Whoever has written a provider of their own upgrades first, and renames when they read the warning."""
    twitter = provider("twitter", bearer_token="secret")
    with pytest.warns(DeprecationWarning, match=r"Provider\.settings"):
        assert twitter.own is twitter.settings
