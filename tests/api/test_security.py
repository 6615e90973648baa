"""Who may read the figures, and who may clear the cache."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from unittest import mock

import pytest
from starlette.testclient import TestClient

from tbcache.api.access import OPEN
from tbcache.api.address import is_loopback
from tbcache.cache import CacheManager
from tbcache.models.error import ConfigurationError
from tbcache.settings import Settings
from tbcache.store import Store
from tests.server import Server

CLEAR = "/api/monitoring/cache/clear"
ALL = {"pattern": "*"}
TOKEN = "pässword-1-of-many"


@pytest.fixture(autouse=True)
def cache(store: Store) -> CacheManager:
    """A cache with something to lose."""
    cache = CacheManager(store)
    cache.set("twitter:AAPL:24", 1, ttl=60)
    return cache


@pytest.fixture
def guarded(server: Server, settings_for: Callable[..., Settings]) -> Settings:
    return settings_for(server, TBCACHE_API_TOKEN=TOKEN)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {TOKEN}".encode()},
        {"X-API-Token": ""},
        {"X-API-Token": TOKEN[:-1].encode()},
    ],
)
def test_without_the_right_token_clear_is_refused(
    guarded: Settings,
    client_for: Callable[..., TestClient],
    cache: CacheManager,
    headers: dict[str, str | bytes],
) -> None:
    """Where a token is set, being on the same machine is not enough."""
    answer = client_for(guarded).post(CLEAR, json=ALL, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"]
    assert cache.exists("twitter:AAPL:24")


@pytest.mark.parametrize("name", ["Authorization", "X-API-Token"])
def test_with_the_token_clear_is_for_everyone(
    guarded: Settings, client_for: Callable[..., TestClient], name: str
) -> None:
    """The token is how another machine, or a proxy, is let in."""
    value = f"bearer {TOKEN}" if name == "Authorization" else TOKEN
    client = client_for(guarded, address="10.0.0.9")
    headers = {name: value.encode(), "Host": "fleet.example.com", "X-Forwarded-For": "203.0.113.5"}
    answer = client.post(CLEAR, json=ALL, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert answer.json()["cleared"] == 1


def test_the_token_is_asked_for_before_the_body_is_read(
    guarded: Settings, client_for: Callable[..., TestClient]
) -> None:
    """A stranger learns nothing from what is wrong with his request."""
    headers = {"Content-Type": "application/json"}
    assert client_for(guarded).post(CLEAR, content=b"{", headers=headers).status_code == 401


FIGURES = (
    "/api/monitoring/status",
    "/api/monitoring/cache/status",
    "/api/monitoring/usage",
    "/metrics",
    "/nowhere",
)


@pytest.mark.parametrize("path", FIGURES)
def test_reading_from_beyond_this_machine_needs_the_token(
    guarded: Settings, client_for: Callable[..., TestClient], path: str
) -> None:
    """The usage says what a bot trades and how much; a network is full of strangers."""
    found = 404 if path == "/nowhere" else 200
    afar, here = client_for(guarded, address="10.0.0.9"), client_for(guarded)
    refused = afar.get(path)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert refused.json()["error"]
    assert afar.get(path, headers={"X-API-Token": TOKEN.encode()}).status_code == found  # type: ignore[dict-item]
    assert here.get(path).status_code == found
    # A proxy on this machine asks on behalf of others.
    assert here.get(path, headers={"X-Forwarded-For": "203.0.113.5"}).status_code == 401


@pytest.mark.parametrize("path", FIGURES)
def test_without_a_token_nobody_reads_from_beyond_this_machine(
    settings: Settings, client_for: Callable[..., TestClient], path: str
) -> None:
    """Also where another server than ours runs the app, which does not ask for whom it listens."""
    refused = client_for(settings, address="10.0.0.9").get(path, headers={"Host": "10.0.0.1:8000"})
    assert refused.status_code == 403
    assert "TBCACHE_API_TOKEN" in refused.json()["error"]


@pytest.mark.parametrize("path", sorted(OPEN))
def test_what_tells_nothing_of_the_fleet_is_for_everyone(
    guarded: Settings, client_for: Callable[..., TestClient], path: str
) -> None:
    """A kubelet has no token."""
    assert client_for(guarded, address="10.0.0.9").get(path).status_code == 200


@pytest.mark.parametrize("address", ["10.0.0.9", "192.168.1.4", "2001:db8::1", "testclient"])
def test_without_a_token_other_machines_are_refused(
    settings: Settings, client_for: Callable[..., TestClient], cache: CacheManager, address: str
) -> None:
    """An API opened to a network must not be a button that anyone can press."""
    answer = client_for(settings, address=address).post(CLEAR, json=ALL)
    assert answer.status_code == 403
    assert "TBCACHE_API_TOKEN" in answer.json()["error"]
    assert cache.exists("twitter:AAPL:24")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "203.0.113.5"},
        {"Via": "1.1 edge"},
        {"X-Forwarded-Proto": "https"},
        {"X-Forwarded-Host": "fleet.example.com"},
        {"CF-Connecting-IP": "203.0.113.5"},
        {"True-Client-IP": "203.0.113.5"},
        {"X-Client-IP": "203.0.113.5"},
        {"Host": "evil.example.com"},
        {"Host": "127.0.0.1.evil.example.com:8000"},
        {"Host": "[::1"},
        {"Origin": "https://evil.example.com"},
        {"Origin": "http://localhost.evil.example.com"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_or_a_proxy_on_this_machine_is_no_local_user(
    client: TestClient, cache: CacheManager, headers: dict[str, str]
) -> None:
    """Browsers and proxies connect from loopback on behalf of strangers: CSRF, DNS rebinding."""
    answer = client.post(CLEAR, params=ALL, headers=headers)
    assert answer.status_code == 403
    assert cache.exists("twitter:AAPL:24")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"},
        {"Host": "[::1]:8000"},
        {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_local_page_may_clear(client: TestClient, headers: dict[str, str]) -> None:
    """The API's own documentation page has a button to try it."""
    assert client.post(CLEAR, json=ALL, headers=headers).status_code == 200


READS = (
    "/api/monitoring/usage",
    "/metrics",
    "/healthz",
    "/readyz",
    "/docs",
    "/openapi.json",
    "/",
    "/nowhere",
)


@pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1.evil.example.com:8000", "[::1"])
@pytest.mark.parametrize("path", READS)
def test_a_page_whose_name_was_rebound_reads_nothing(client: TestClient, path: str, host: str) -> None:
    """The usage says what a bot trades and how much; a web page must not be able to read it."""
    answer = client.get(path, headers={"Host": host}, follow_redirects=False)
    assert answer.status_code == 403
    assert answer.json()["error"]
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "host", ["10.0.0.9:8000", "localhost.:8000", "[2001:db8::1]:8000", "127.0.0.1", "[::1]:8000"]
)
def test_who_asks_by_address_may_read(
    settings: Settings, client_for: Callable[..., TestClient], host: str
) -> None:
    """A kubelet and a scraper do: an address is no name that could be rebound."""
    client = client_for(settings, address="10.0.0.1")
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_with_a_token_the_host_may_be_any(guarded: Settings, client_for: Callable[..., TestClient]) -> None:
    """Such an API is reached from elsewhere, by whatever name a proxy has for it."""
    client = client_for(guarded, address="10.0.0.9")
    headers = {"Host": "fleet.example.com", "X-API-Token": TOKEN.encode()}
    assert client.get("/metrics", headers=headers).status_code == 200  # type: ignore[arg-type]
    refused = client.get("/docs", headers={"Host": "[::1"})
    assert refused.status_code == 400
    assert refused.json()["error"]


@pytest.mark.parametrize("path", ["/", "/api/monitoring/status", "/metrics", "/jobs"])
def test_a_page_whose_name_was_rebound_reads_nothing_of_one_with_a_token_either(
    guarded: Settings, client_for: Callable[..., TestClient], path: str
) -> None:
    """From the API's own machine nobody is asked for the token who names it by its address."""
    client = client_for(guarded)
    assert client.get(path, headers={"Host": "evil.example.com"}).status_code == 401
    assert client.get(path).status_code == 200
    shown = {"Host": "fleet.example.com", "X-API-Token": TOKEN.encode()}
    assert client.get(path, headers=shown).status_code == 200  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_a_body_that_is_not_called_json_is_refused(
    client: TestClient, cache: CacheManager, kind: str
) -> None:
    """A form of any web page can send these without the browser asking us first."""
    answer = client.post(CLEAR, content=b'{"pattern": "*"}', headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert cache.exists("twitter:AAPL:24")


def test_a_huge_body_is_refused(client: TestClient) -> None:
    """Nobody's memory is filled by a pattern, however it is sent."""

    def pieces() -> Iterator[bytes]:
        yield from [b"x" * 10_000] * 10

    for body in (b"x" * 100_000, pieces()):
        headers = {"Content-Type": "application/json"}
        answer = client.post(CLEAR, content=body, headers=headers)
        assert answer.status_code == 413
        assert answer.json()["error"]


@pytest.mark.parametrize(
    "body", [b"[" * 16_000, b'{"pattern": "\\ud800"}', b'{"\\ud800": 1}', b"\xff", b"9" * 9000]
)
def test_a_body_that_is_no_sound_json_is_one_line(client: TestClient, body: bytes) -> None:
    """What is wrong with it must not break the answer that says so."""
    answer = client.post(CLEAR, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("LocalHost.", True),
        ("::ffff:10.0.0.9", False),
        ("0.0.0.0", False),  # noqa: S104 -- not bound to, looked at
        ("10.0.0.9", False),
        ("localhost.example.com", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback_is_told_from_everything_else(host: str | None, expected: bool) -> None:
    """The one question that all of the above rests on."""
    assert is_loopback(host) is expected


READ_TOKEN = "one-who-only-reads"


@pytest.fixture
def scoped(
    server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient]
) -> TestClient:
    """A client elsewhere of an API with a token for each scope."""
    settings = settings_for(server, TBCACHE_API_TOKEN=TOKEN, TBCACHE_API_READ_TOKEN=READ_TOKEN)
    return client_for(settings, address="10.0.0.9")


def test_the_token_for_reading_reads_and_nothing_else(scoped: TestClient, cache: CacheManager) -> None:
    """A dashboard on the wall can be given one, and nobody clears a cache with it, or spends money."""
    reader = {"Authorization": f"Bearer {READ_TOKEN}"}
    assert scoped.get("/api/monitoring/usage").status_code == 401
    # How long it takes does not tell how much of a token is right.
    with mock.patch("tbcache.api.token.secrets.compare_digest", wraps=secrets.compare_digest) as compared:
        assert scoped.get("/api/monitoring/usage", headers=reader).status_code == 200
    assert {one.args[0] for one in compared.call_args_list} >= {READ_TOKEN.encode()}
    refused = scoped.post(CLEAR, json=ALL, headers=reader)
    assert (refused.status_code, "TBCACHE_API_TOKEN" in refused.json()["error"]) == (403, True)
    assert scoped.get("/api/sentiment/stocktwits/AAPL", headers=reader).status_code == 403
    # What is read takes no money, however much of it there is.
    history = {"source": "stocktwits", "symbol": "AAPL", "start": "2026-07-28T12:00Z"}
    assert scoped.get("/api/history", params=history, headers=reader).status_code == 422
    assert cache.exists("twitter:AAPL:24")
    assert scoped.post(CLEAR, json=ALL, headers={"X-API-Token": TOKEN.encode()}).status_code == 200  # type: ignore[dict-item]


def test_who_logs_in_with_the_token_for_reading_changes_nothing(scoped: TestClient) -> None:
    """A session of the page is worth what its token is."""
    scoped.post("/login", data={"token": READ_TOKEN})
    assert scoped.get("/audit").status_code == 200
    form = {"source": "twitter", "sure": "yes"}
    assert scoped.post("/act/pause", data=form).status_code == 403
    scoped.post("/login", data={"token": TOKEN})
    assert scoped.post("/act/resume", data=form).status_code == 200
    for origin in ("http://localhost:9999", "http://[::1"):
        assert scoped.post("/act/resume", data=form, headers={"Origin": origin}).status_code == 403
    # A form of another page on this host, by another port, would send the cookie along.
    assert scoped.post("/api/queue/twitter/pause").status_code == 401


@pytest.mark.parametrize("before", ['prefs={"a":1,"b":2}', "foo[bar]=1", "tbcache_session=1.theirs", "=;;"])
def test_a_session_is_found_whatever_other_cookies_say(scoped: TestClient, before: str) -> None:
    """Programs on other ports of a host share its cookies: none of them locks the operator out."""
    scoped.post("/login", data={"token": READ_TOKEN})
    ours = "; ".join(f"{name}={value}" for name, value in scoped.cookies.items())
    assert scoped.get("/audit", headers={"Cookie": f"{before}; {ours}; last"}).status_code == 200
    scoped.cookies.clear()
    assert scoped.get("/audit", headers={"Cookie": before}).status_code == 401


def test_with_a_token_for_reading_alone_only_this_machine_changes_something(
    server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient]
) -> None:
    """Whoever has set no other is not locked out of the machine that the API is on."""
    settings = settings_for(server, TBCACHE_API_READ_TOKEN=READ_TOKEN)
    reader = {"Authorization": f"Bearer {READ_TOKEN}"}
    assert client_for(settings, address="10.0.0.9").post(CLEAR, json=ALL, headers=reader).status_code == 403
    assert client_for(settings).post(CLEAR, json=ALL).status_code == 200


def test_both_tokens_are_not_one(server: Server, settings_for: Callable[..., Settings]) -> None:
    """Whoever was to read could do everything."""
    with pytest.raises(ConfigurationError) as caught:
        settings_for(server, TBCACHE_API_TOKEN=TOKEN, TBCACHE_API_READ_TOKEN=TOKEN)
    assert "TBCACHE_API_READ_TOKEN" in str(caught.value)
    assert "same" not in str(caught.value)
