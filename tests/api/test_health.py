"""Alive, and ready."""

from __future__ import annotations

import threading
from collections.abc import Callable

from starlette.testclient import TestClient

from tbcache import __version__
from tbcache.io.background import BackgroundThread
from tbcache.settings import Settings
from tests.server import Server, wait_until


def test_healthz_answers_without_redis(
    settings_for: Callable[..., Settings], client_for: Callable[..., TestClient], private_server: Server
) -> None:
    """A process must not be restarted because its Redis is down."""
    client = client_for(settings_for(private_server))
    private_server.kill()
    assert client.get("/healthz").status_code == 200
    assert client.get("/healthz").json() == {"status": "ok", "version": __version__}


def test_healthz_names_a_thread_that_died(
    settings_for: Callable[..., Settings], client_for: Callable[..., TestClient], server: Server
) -> None:
    """A process that only looks alive is worse than one that ended."""
    was_named = threading.Event()

    def step() -> float:
        # Any other thread may start it again before anybody asks: it dies until it was named.
        if not was_named.is_set():
            raise SystemExit
        return 60.0

    client, thread = client_for(settings_for(server)), BackgroundThread("tbcache-mortal", step)
    thread.start()

    def is_named() -> bool:
        answer = client.get("/healthz")
        return answer.status_code == 503 and "tbcache-mortal" in answer.json()["error"]

    wait_until(is_named)
    was_named.set()
    wait_until(lambda: client.get("/healthz").status_code == 200)
    thread.stop()


def test_readyz_follows_redis(
    settings_for: Callable[..., Settings], client_for: Callable[..., TestClient], private_server: Server
) -> None:
    """Traffic goes where work can be done, and comes back by itself."""
    client = client_for(settings_for(private_server))
    assert client.get("/readyz").status_code == 200
    private_server.kill()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "Redis is not reachable" in answer.json()["error"]
    wait_until(lambda: "connection refused" in client.get("/readyz").json()["error"])
    private_server.start()
    wait_until(lambda: client.get("/readyz").status_code == 200)


def test_readyz_names_a_refused_login_and_no_password(
    settings_for: Callable[..., Settings], client_for: Callable[..., TestClient], private_server: Server
) -> None:
    """A wrong password is the operator's to mend, and nobody else's to read."""
    settings = settings_for(private_server, REDIS_URL=f"redis://:hunter2@127.0.0.1:{private_server.port}/0")
    private_server.client.config_set("requirepass", "correct-horse")
    answer = client_for(settings).get("/readyz")
    private_server.client.execute_command("AUTH", "correct-horse")
    private_server.client.config_set("requirepass", "")
    assert answer.status_code == 503
    assert "refuses the login" in answer.json()["error"]
    assert "hunter2" not in answer.text
