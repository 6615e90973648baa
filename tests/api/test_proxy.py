"""The API behind a proxy that ends TLS."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

import httpx2
import pytest

from tests.contract import serving
from tests.server import Server
from tests.tls_proxy import OPENSSL, TlsProxy

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="needs openssl")

TOKEN = "the token behind the proxy"
#: The address of a client, which is another than the proxy's.
STRANGER = "127.0.0.2"


class Site(NamedTuple):
    api: str
    proxy: TlsProxy
    mute: TlsProxy

    def browser(self, proxy: TlsProxy) -> httpx2.Client:
        tls = ssl.create_default_context(cafile=str(proxy.certificate))
        transport = httpx2.HTTPTransport(verify=tls, local_address=STRANGER)
        return httpx2.Client(base_url=proxy.url, transport=transport, timeout=60, trust_env=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The API, a proxy that is trusted and says all, and one that says nothing.

    It listens for IPv6 as well, where IPv4 comes as `::ffff:127.0.0.1`.
    """
    server = Server(always_answers=True).start()
    variables = {
        "REDIS_URL": server.url,
        "TBCACHE_REDIS_TIMEOUT": "10",
        "TBCACHE_API_TOKEN": TOKEN,
        "TBCACHE_API_TRUSTED_PROXIES": "127.0.0.1",
        "TBCACHE_DATA_DIR": str(tmp_path_factory.mktemp("data")),
    }
    with serving("::" if socket.has_dualstack_ipv6() else "127.0.0.1", **variables) as url:
        port = int(url.rpartition(":")[2])
        proxies = [TlsProxy(tmp_path_factory.mktemp("tls"), port, is_mute=mute) for mute in (False, True)]
        yield Site(f"http://127.0.0.1:{port}", *proxies)
        for one in proxies:
            one.close()
    server.close()


def test_one_logs_in_and_acts_by_tls(site: Site) -> None:
    """The cookie would be sent without TLS as well, and no button did anything."""
    with site.browser(site.proxy) as browser:
        assert browser.get("/", headers={"Accept": "text/html"}).headers["Location"].startswith("/login")
        page = {"Origin": site.proxy.url, "Sec-Fetch-Site": "same-origin"}
        answer = browser.post("/login", data={"token": TOKEN}, headers=page)
        assert answer.status_code == 303
        assert {"Secure", "HttpOnly"} <= set(re.split("; ?", answer.headers["Set-Cookie"]))
        assert browser.get("/").status_code == 200
        form = {"source": "reddit", "back": "/"}
        done = browser.post("/act/pause", data={**form, "sure": "yes"}, headers=page)
        assert done.status_code == 303
        assert done.headers["Location"].startswith("/done/pause?back=%2F&of=")
        assert "Secure" in done.headers["Set-Cookie"]
        assert browser.post("/act/resume", data={**form, "sure": "yes"}, headers=page).status_code == 303
        evil = browser.post("/act/pause", data=form, headers={**page, "Origin": "https://localhost:1"})
        assert evil.status_code == 403
        found = browser.get("/api/audit?most=1").json()[0]
        assert (found["what"], found["name"]) == ("queue.resume", "reddit")


def test_nobody_is_of_this_machine_who_comes_through_a_proxy(site: Site) -> None:
    """Whatever he says himself, and also where the proxy says nothing."""
    for spoofed in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}):
        for proxy in (site.proxy, site.mute):
            with site.browser(proxy) as stranger:
                assert stranger.get("/api/weights", headers=spoofed).status_code == 401
    # Without a proxy nobody says for whom he asks either, and only the proxies' own address is theirs.
    assert httpx2.get(f"{site.api}/api/weights", trust_env=False).status_code == 401


def test_a_proxy_that_asks_for_another_host_is_told_so(site: Site) -> None:
    """As nginx does by itself: whoever logged in would find that no button did anything."""
    with site.browser(site.mute) as browser:
        page = {"Origin": site.mute.url, "Sec-Fetch-Site": "same-origin"}
        refused = browser.post("/login", data={"token": TOKEN}, headers=page)
        assert refused.status_code == 403
        assert "the proxy has to pass on the Host" in refused.json()["error"]


def test_who_asks_through_a_trusted_proxy_is_himself(site: Site) -> None:
    """Strangers behind one proxy shut out each other, were they all its address."""
    with site.browser(site.proxy) as stranger:
        for n in range(10):
            stranger.get("/api/weights", headers={"X-API-Token": f"wrong {n}"})
        assert stranger.get("/api/weights", headers={"X-API-Token": TOKEN}).status_code == 429
        other = stranger.get("/api/weights", headers={"X-API-Token": TOKEN, "X-Forwarded-For": "192.0.2.1"})
        # What he says of himself is not believed: the proxy adds his address behind it.
        assert other.status_code == 429
    with site.browser(site.mute) as other_client:
        assert other_client.get("/api/weights", headers={"X-API-Token": TOKEN}).status_code == 200
