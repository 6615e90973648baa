"""Tokens that are wrong: bounded, and told."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from unittest import mock

import pytest
from starlette.testclient import TestClient

from tbcache.api import guess
from tbcache.api.guess import MOST_GUESSES
from tbcache.models.error import ConfigurationError
from tbcache.settings import Settings
from tests.server import Server, wait_until

TOKEN = "the right one of many"
RIGHT, OLD = {"X-API-Token": TOKEN}, {"X-API-Token": "the one of last month"}


@pytest.fixture
def guarded(server: Server, settings_for: Callable[..., Settings]) -> Settings:
    return settings_for(server, TBCACHE_API_TOKEN=TOKEN)


@pytest.mark.parametrize("where", ["header", "form"])
def test_who_guesses_is_shut_out_and_told_of(
    guarded: Settings,
    client_for: Callable[..., TestClient],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Forty tokens were tried in a third of a second, and no line said so."""
    client = client_for(guarded, address="203.0.113.5")

    def show(token: str) -> int:
        if where == "form":
            return client.post("/login", data={"token": token}, follow_redirects=False).status_code
        return client.get("/api/weights", headers={"X-API-Token": token}).status_code

    logged_in = client_for(guarded, address="203.0.113.5")
    logged_in.post("/login", data={"token": TOKEN})
    assert [show(f"wrong {n}") for n in range(MOST_GUESSES)] == [401] * MOST_GUESSES
    # A right one would be found as well.
    assert (show("another"), show(TOKEN)) == (429, 429)
    refused = client.get("/api/weights", headers=RIGHT)
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    # Who has logged in goes on, and so does who asks from elsewhere.
    assert logged_in.get("/api/weights").status_code == 200
    assert client.app.state.context.guesses.seconds_shut({"client": ("203.0.113.6", 1), "headers": []}) == 0  # type: ignore[attr-defined]
    # What repeats is counted (tests/test_log.py); that he is shut out is an event of its own.
    assert {"token.wrong", "token.shut"} <= {record.msg for record in caplog.records}
    told = str([record.__dict__ for record in caplog.records])
    assert ("203.0.113.5" in told, "wrong 3" in told, TOKEN in told) == (True, False, False)
    monkeypatch.setattr(guess, "GUESSES_SECONDS", 0.0)
    wait_until(lambda: show(TOKEN) in (200, 303), 20)


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example.com"}]
)
def test_another_sites_page_neither_guesses_nor_logs_out(
    guarded: Settings, client_for: Callable[..., TestClient], headers: dict[str, str]
) -> None:
    """A picture of ten forms on any page would shut its reader out."""
    client = client_for(guarded, address="203.0.113.5")
    client.post("/login", data={"token": TOKEN})
    for n in range(MOST_GUESSES):
        assert client.post("/login", data={"token": f"wrong {n}"}, headers=headers).status_code == 403
    assert client.post("/logout", headers=headers).status_code == 403
    assert client.get("/api/weights").status_code == 200
    assert client.post("/login", data={"token": TOKEN}, follow_redirects=False).status_code == 303


def test_a_bot_with_an_old_token_shuts_nobody_out(
    guarded: Settings, client_for: Callable[..., TestClient]
) -> None:
    """It guesses nothing, and asks each second; others of its address have the right one."""
    client = client_for(guarded)
    for _ in range(MOST_GUESSES * 2):
        assert client.get("/api/sources/reddit", headers=OLD).status_code in (200, 401)
    assert client.post("/api/queue/reddit/resume", headers=RIGHT).status_code == 200


def test_two_tokens_of_one_request_are_two_guesses(
    guarded: Settings, client_for: Callable[..., TestClient]
) -> None:
    """Twenty a minute were tried by who shows one in each header."""
    client = client_for(guarded, address="203.0.113.5")
    for n in range(MOST_GUESSES // 2):
        both = {"X-API-Token": f"wrong {n}", "Authorization": f"Bearer other {n}"}
        assert client.get("/api/weights", headers=both).status_code == 401
    assert client.get("/api/weights", headers=RIGHT).status_code == 429


def test_strangers_behind_a_proxy_shut_out_no_bot_of_this_machine(
    guarded: Settings, client_for: Callable[..., TestClient], caplog: pytest.LogCaptureFixture
) -> None:
    """Both are 127.0.0.1. That all behind it are one client is in the log: any of them shuts out all."""
    client = client_for(guarded)
    for n in range(MOST_GUESSES):
        client.get("/", headers={"X-API-Token": f"wrong {n}", "X-Forwarded-For": "203.0.113.5"})
    assert client.get("/", headers={**RIGHT, "X-Forwarded-For": "203.0.113.6"}).status_code == 429
    assert client.post("/api/queue/reddit/resume", headers=RIGHT).status_code == 200
    (told,) = (one for one in caplog.records if one.msg == "proxy.untrusted")
    assert "set TBCACHE_API_TRUSTED_PROXIES" in str(told.__dict__)


def test_the_clients_that_are_remembered_are_bounded(
    guarded: Settings, client_for: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has many addresses would fill the memory."""
    monkeypatch.setattr(guess, "MOST_CLIENTS", 3)
    guesses = guess.Guesses()
    for n in range(9):
        # The addresses of an IPv6 network are one client.
        guesses.count({"client": (f"2001:db8:0:{n // 3}::{n}", 1), "headers": []}, f"{n}")
        guesses.count({"client": (f"192.0.2.{n}", 1), "headers": []}, f"{n}")
    assert list(guesses._tried) == ["192.0.2.7", "2001:db8:0:2::/64", "192.0.2.8"]
    assert len(guesses._tried["2001:db8:0:2::/64"]) == 3


@pytest.mark.parametrize(("has_proxies", "clients"), [(True, 1), (False, 2)])
def test_who_comes_through_a_proxy_that_is_trusted_is_one_client_whatever_it_says(
    monkeypatch: pytest.MonkeyPatch, has_proxies: bool, clients: int
) -> None:
    """With the header and without it there would be twice as many guesses."""
    log = mock.Mock(wraps=guess.log)
    monkeypatch.setattr(guess, "log", log)
    guesses = guess.Guesses(has_proxies=has_proxies)
    for n in range(4):
        headers = [(b"x-forwarded-for", b"192.0.2.9")] * (n % 2)
        guesses.count({"client": ("192.0.2.8", 1), "headers": headers}, f"{n}")
    assert len(guesses._tried) == clients
    told = [call.args[0] for call in log.warning.call_args_list]
    assert told.count("proxy.untrusted") == clients - 1


@pytest.mark.parametrize("name", ["TBCACHE_API_TOKEN", "TBCACHE_API_READ_TOKEN"])
def test_a_token_that_is_short_is_refused_with_the_way_to_make_one(name: str) -> None:
    """One of a few characters is found, whatever bounds the guesses."""
    with pytest.raises(ConfigurationError) as told:
        Settings.load({name: "fifteen-letters"})
    text = str(told.value)
    assert (name in text, "fifteen-letters" in text) == (True, False)
    assert "16 characters or more, like one that `openssl rand -hex 32` makes" in text
    Settings.load({name: "sixteen-letters."})


def test_a_proxy_that_is_none_is_refused() -> None:
    """Everyone would be believed, or nobody."""
    assert Settings.load({"TBCACHE_API_TRUSTED_PROXIES": "::ffff:10.0.0.0/104,::1"}).api_trusted_proxies == (
        IPv4Network("10.0.0.0/8"),
        IPv6Network("::1"),
    )
    for wrong in ("*", "proxy", "10.0.0.1/8"):
        with pytest.raises(ConfigurationError) as told:
            Settings.load({"TBCACHE_API_TRUSTED_PROXIES": wrong})
        assert "like 127.0.0.1,10.0.0.0/8" in str(told.value)
