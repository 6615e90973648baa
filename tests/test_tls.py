"""A Redis that speaks TLS, as hosted ones do: a worker and bots over it, and a certificate nobody trusts."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tbcache.asyncio
from tbcache import enqueue, get_cache_manager, get_provider
from tbcache.store.node import Node
from tests.server import PATIENT, Server, free_port
from tests.upstream import SimulatorProcess, running_simulator

REDIS, OPENSSL = shutil.which("redis-server"), shutil.which("openssl")
pytestmark = pytest.mark.skipif(not (REDIS and OPENSSL), reason="needs redis-server and openssl")


class TlsServer(Server):
    """Debian's Redis with a certificate of its own; the plain port is for whoever looks behind the scenes."""

    def __init__(self, folder: Path) -> None:
        self.certificate, key = folder / "server.crt", folder / "server.key"
        subprocess.run(
            [
                *(str(OPENSSL), "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=tests"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )
        self.tls_port = free_port()
        tls = {
            "tls-port": str(self.tls_port),
            "tls-cert-file": str(self.certificate),
            "tls-key-file": str(key),
            "tls-ca-cert-file": str(self.certificate),
            "tls-auth-clients": "no",
        }
        super().__init__(program=REDIS, **tls)

    @property
    def url_unchecked(self) -> str:
        return f"rediss://127.0.0.1:{self.tls_port}/0"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    server = TlsServer(tmp_path_factory.mktemp("tls"))
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatorProcess]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def bot(
    tls: TlsServer, upstream: SimulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """This process and those that it starts are of the fleet."""
    url = f"{tls.url_unchecked}?ssl_ca_certs={tls.certificate}&ssl_check_hostname=true"
    for name, value in {
        **PATIENT,
        **upstream.variables,
        "REDIS_URL": url,
        "TBCACHE_DATA_DIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    yield
    tls.flush()


def test_a_worker_and_bots_work_over_it(bot: None) -> None:
    """The blocking connections, the one that thirty share to wait for results, and that of an event loop."""
    worker = subprocess.Popen([sys.executable, "-m", "workers", "reddit", "--threads", "4"])
    try:
        with ThreadPoolExecutor(30) as threads:
            jobs = [
                threads.submit(lambda n=n: enqueue("reddit", f"T{n}").result(timeout=60)) for n in range(30)
            ]
            assert {job.result().origin for job in jobs} == {"live"}
        assert get_provider("reddit").fetch("T0").origin == "cache"
        get_cache_manager().set("large", "x" * 300_000, ttl=60)
        assert get_cache_manager().get("large") == "x" * 300_000

        async def main() -> set[str]:
            provider = tbcache.asyncio.get_provider("reddit")
            return {one.origin for one in await asyncio.gather(*(provider.fetch(f"T{n}") for n in range(30)))}

        assert asyncio.run(main()) == {"cache"}
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0


def test_a_connection_is_ready_as_soon_as_it_is_there(tls: TlsServer, bot: None) -> None:
    """One of six was given up: what TLS sends behind a handshake was taken for an old answer."""
    # Two handshakes each time.
    for _ in range(30):
        node = Node(os.environ["REDIS_URL"], 20.0)
        assert node.call("PING") == b"PONG"
        node.subscribe("channel").close()
        node.close()


def test_a_certificate_that_is_not_trusted_is_said_in_one_line(tls: TlsServer, bot: None) -> None:
    """Nothing is sent to whoever cannot prove who he is; the password would be among it."""
    found = subprocess.run(
        [sys.executable, "-m", "tbcache", "status"],
        env={**os.environ, "REDIS_URL": tls.url_unchecked},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 3
    assert "certificate verify failed" in found.stdout + found.stderr
    assert "Traceback" not in found.stderr
