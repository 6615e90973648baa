"""A small world for the core: one source, one store, an upstream that is a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

import pytest

from tbcache.admission import Ask
from tbcache.fetch import Pipeline
from tbcache.models import FetchRequest, HttpRequest, Item, Limit, Page, RawResponse
from tbcache.monitoring import UsageMonitor
from tbcache.repository import Answer
from tbcache.scoring import VOICES, get_scorer
from tbcache.settings import BUILT_IN, Settings, Source
from tbcache.store import Store
from tests.blocking import Admission, core

TWITTER = replace(
    BUILT_IN["twitter"], limits=(Limit(5, 60.0),), cache_ttl=300.0, stale_ttl=600.0, missing=(), pages=3
)


def ask(symbol: str = "AAPL", source: Source = TWITTER, **options: object) -> Ask:
    return Ask(source, FetchRequest(source.name, symbol), **options)  # type: ignore[arg-type]


@dataclass
class Upstream:
    """An upstream that answers with pages of a function, and counts what it is asked."""

    source: Source = TWITTER
    answer: Callable[[str | None], Page] = lambda cursor: Page((item("1"),))
    persist_to_db: bool = False
    sent: list[str | None] = field(default_factory=list)

    analyzer = property(lambda self: get_scorer())
    voices = VOICES

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        return HttpRequest("GET", f"https://upstream.test/{fetch.symbol}", {"cursor": cursor or ""})

    def send(self, request: HttpRequest) -> RawResponse:
        self.sent.append(request.params["cursor"] or None)
        return RawResponse(200, {}, request.params["cursor"].encode())

    def parse(self, response: RawResponse) -> Page:
        return self.answer(response.body.decode() or None)


def item(name: str, at: datetime | None = None, text: str = "to the moon") -> Item:
    return Item(name, at, text)


class Kept:
    """An outbox that only remembers."""

    def __init__(self) -> None:
        self.accepted: list[Answer] = []
        self.nudges = 0

    def accept(self, answer: Answer) -> None:
        self.accepted.append(answer)

    def nudge(self) -> None:
        self.nudges += 1


@pytest.fixture
def admission(store: Store, settings: Settings) -> Iterator[Admission]:
    monitor = UsageMonitor(store, settings)
    yield Admission(store, settings, monitor)
    monitor.flush()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def pipeline(admission: Admission, kept: Kept) -> Iterator[Pipeline]:
    pipeline = Pipeline(core(admission), lambda: kept)  # type: ignore[arg-type, return-value]
    yield pipeline
    pipeline.close()
