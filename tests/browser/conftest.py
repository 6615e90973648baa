"""A fleet that stands still, an API over it, and a browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tbcache.settings import BUILT_IN_NAMES, Settings
from tbcache.store import Store
from tbcache.store.key import Keys
from tests.server import Server, wait_until

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
ON = {
    "TBCACHE_REDDIT__CLIENT_ID": "id",
    "TBCACHE_REDDIT__CLIENT_SECRET": "secret",
    "TBCACHE_NEWS__API_KEY": "key",
}

expect.set_options(timeout=30_000)


class Api:
    """The API as a process of its own, on a port that it keeps."""

    def __init__(self, variables: dict[str, str], folder: Path) -> None:
        self._variables, self._output = variables, folder / "api.txt"
        self.url = ""
        self.start("0")

    def start(self, port: str | None = None) -> None:
        port = port or self.url.rpartition(":")[2]
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tbcache", "api", "--port", port],
                env={**os.environ, **self._variables},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        found = wait_until(lambda: re.search(r"url=(\S+)", self._output.read_text()), 60, "the API's start")
        self.url = found[1]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It answers nothing meanwhile, and its connections stay."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


# Not for longer: while it lives, an event loop runs in this thread, and no other test could have its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def _api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Api]]:
    """A server, and the API over it, for all: both take longer to start than a test takes."""
    server, folder = Server(always_answers=True).start(), tmp_path_factory.mktemp("api")
    try:
        api = Api({**server.variables, **ON, "TBCACHE_DATA_DIR": str(folder / "data")}, folder)
        yield server, api
        api.kill()
    finally:
        server.close()


@pytest.fixture
def api(_api: tuple[Server, Api]) -> Api:
    """The API, over an empty server."""
    server, api = _api
    keys = Keys("trading_bot")
    hashes = {keys.state(name): (b"order", b"bound") for name in BUILT_IN_NAMES} | {keys.weights: ()}
    said = {key: list(fields) or server.client.hkeys(key) for key, fields in hashes.items()}
    server.flush()
    # The API knows what was said in the test before: it is all taken back.
    for key, fields in said.items():
        for field in fields:
            value = "resume" if field == b"order" else "-"
            server.client.hset(key, field, f"{value} {time.time_ns() // 1000} test ")
            server.client.expire(key, 600)
    return api


@pytest.fixture
def shop(_api: tuple[Server, Api], api: Api) -> Iterator[Store]:
    """A store of another process of the fleet."""
    store = Store(Settings.load({**_api[0].variables, **ON}))
    yield store
    store.close()


@pytest.fixture
def open_page(browser: Browser, api: Api) -> Iterator[Callable[..., Page]]:
    """Opens a path of the API in a new window; whatever the browser complains of fails the test."""
    pages: list[Page] = []
    complaints: list[str] = []

    def open_one(path: str = "/", **options: Any) -> Page:
        page = browser.new_page(**options)
        page.set_default_timeout(30_000)
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        pages.append(page)
        page.goto(api.url + path)
        return page

    yield open_one
    for page in pages:
        page.close()
    # That the API was killed, or is full, is no fault of the page.
    assert [one for one in complaints if not re.search("ERR_|htmx:sse:error|status of 503", one)] == []
