"""Small answers, and providers to read them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from tbcache.admission import Ask, Grant
from tbcache.fetch.job import Attempt
from tbcache.fetch.reader import Fetched, PageReader
from tbcache.io import run, utc_now
from tbcache.models import FetchRequest, HttpRequest, RawResponse
from tbcache.providers.base import Provider
from tbcache.settings import BUILT_IN, SourceSettings
from tbcache.settings.field import read_fields
from tbcache.settings.upstream import READERS
from tests.blocking import go_on

NOW = datetime(2026, 7, 28, 21, 0, 0, tzinfo=UTC)


def provider(name: str, **own: Any) -> Provider:
    module, _, attribute = BUILT_IN[name].provider.partition(":")
    found: Provider = getattr(import_module(module), attribute)(
        BUILT_IN[name], SourceSettings(**read_fields(READERS, own))
    )
    return found


def answer(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None, at: datetime = NOW
) -> RawResponse:
    """An answer received at ``at``; whatever is not bytes becomes JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RawResponse(status, headers or {}, raw, received_at=at)


def first_request(name: str, symbol: str = "AAPL", hours: int = 24, **own: Any) -> HttpRequest:
    fetch = FetchRequest(name, symbol, hours)
    return provider(name, **own).request(fetch, None, fetch.start(NOW))


def next_request(name: str, cursor: str) -> HttpRequest:
    fetch = FetchRequest(name, "AAPL", 24)
    return provider(name).request(fetch, cursor, fetch.start(NOW))


def read_all(upstream: Provider, symbol: str = "AAPL", hours: int = 24) -> Fetched:
    """What is made of all the pages that ``upstream`` sends for, where slots are no matter."""
    ask = Ask(upstream.source, FetchRequest(upstream.source.name, symbol, hours))
    grant = Grant(ask, "token", "slot", 0.0, 0.0, time.monotonic() + 60)
    return run(PageReader(upstream, Attempt(grant), go_on, lambda _: True, utc_now()).read())
