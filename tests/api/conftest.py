"""Clients of the API, on the same machine unless said otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from starlette.testclient import TestClient

from tbcache.api import create_app
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings
from tbcache.store import Store


@pytest.fixture
def client_for() -> Iterator[Callable[..., TestClient]]:
    """Clients of an API with these settings: ``client_for(settings, address="10.0.0.9")``."""
    with ExitStack() as stack:

        def connect(settings: Settings, *, address: str = "127.0.0.1") -> TestClient:
            client = TestClient(
                create_app(settings), client=(address, 50000), base_url="http://localhost:8000"
            )
            return stack.enter_context(client)

        yield connect


@pytest.fixture
def client(settings: Settings, client_for: Callable[..., TestClient]) -> TestClient:
    return client_for(settings)


@pytest.fixture
def monitor(store: Store, settings: Settings) -> UsageMonitor:
    """Another process of the fleet, which counts."""
    return UsageMonitor(store, settings)
