"""What spans cost where nobody listens, and where somebody does: hits, beside the same without spans."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, cast

import msgspec
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from bench import cache, timing
from bench.hit import _warm
from bench.table import Bar, Table
from tbcache.admission import Ask
from tbcache.fetch import Pipeline
from tbcache.fetch.sentiment import SentimentJob
from tbcache.io import run
from tbcache.models import FetchRequest
from tbcache.models.caller import current_caller
from tests.server import Server

MOST = 1.02
#: Who listens, by what the table calls it.
ABSENT, NO_SDK = "OpenTelemetry not imported", "its API alone, no SDK"
DROPPED, TAKEN = "SDK, nothing sampled", "SDK, all sampled"
LISTENERS = (ABSENT, NO_SDK, DROPPED, TAKEN)
HITS = ("from memory", "from Redis", "by admission")


def table(*, is_quick: bool) -> Table:
    """The table, in about 25 seconds; in 3 when ``is_quick``."""
    server = Server().start()
    rounds, calls = (21, 60) if is_quick else (301, 60)
    try:
        with timing.one_core(server):
            return measure(server, rounds=rounds, calls=calls)
    finally:
        server.close()


def measure(server: Server, *, rounds: int, calls: int) -> Table:
    """Each kind of hit, with each listener, over the same with no span in the code."""
    found: dict[str, dict[str, timing.Ratio]] = {}
    for kind in HITS:
        part = cache.Tbcache(server.url, local_bytes=cache.LOCAL_BYTES if kind == HITS[0] else 0)
        try:
            block = timing.block(_ask(part, kind))
            blocks = {
                name: _within(partial(listening, name), block) for name in (ABSENT, NO_SDK, DROPPED, TAKEN)
            }
            found[kind] = timing.compare(_within(without_spans, block), blocks, rounds=rounds, calls=calls)
        finally:
            part.close()
    return Table(
        "Tracing",
        "Median time of a hit over that of the same with the spans taken out of the code; in brackets the "
        "extremes of the rounds. Spans that are sampled are thrown away. A hit from memory, or by one read "
        "of Redis, has none; one that admission answers has two.",
        ["hit", *LISTENERS],
        [[kind, *(str(ratio) for ratio in ratios.values())] for kind, ratios in found.items()],
        [_bar(kind, found[kind][NO_SDK]) for kind in HITS],
    )


def _bar(kind: str, ratio: timing.Ratio) -> Bar:
    return Bar(f"a hit {kind} without an SDK, {MOST} x", str(ratio), round(ratio.median, 2) <= MOST)


@contextmanager
def listening(who: str) -> Iterator[None]:
    """Meanwhile, that is who listens."""
    module, before = sys.modules["opentelemetry.trace"], api._TRACER_PROVIDER
    if who == ABSENT:
        del sys.modules["opentelemetry.trace"]
    elif who != NO_SDK:
        sampler = ALWAYS_OFF if who == DROPPED else ALWAYS_ON
        api._TRACER_PROVIDER = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    try:
        yield
    finally:
        sys.modules["opentelemetry.trace"], api._TRACER_PROVIDER = module, before


@contextmanager
def without_spans() -> Iterator[None]:
    """Meanwhile, the way of an ask has no span in it."""
    before, changed = Pipeline.travel, cast(Any, _travel)
    Pipeline.travel = changed  # type: ignore[method-assign]
    try:
        yield
    finally:
        Pipeline.travel = before  # type: ignore[method-assign]


async def _travel(self: Pipeline, job: Any, ask: Ask) -> Any:
    """:meth:`Pipeline.travel`, as it is without a span."""
    answered = await self._travel(
        job, msgspec.structs.replace(ask, caller=current_caller.get()), self.admission.admit
    )
    self._counts.record(job.source.name, answered.origin)
    return answered


def _within(state: Callable[[], AbstractContextManager[None]], block: timing.Block) -> timing.Block:
    def measured(count: int) -> list[float]:
        with state():
            return block(count)

    return measured


def _ask(part: cache.Tbcache, kind: str) -> Callable[[], object]:
    provider: Any = part.provider
    provider.fetch("AAPL")
    if kind != HITS[2]:
        _warm(part, lambda: provider.get_sentiment("AAPL"))
        return lambda: provider.get_sentiment("AAPL")
    pipeline, request = provider.pipeline, FetchRequest("reddit", "AAPL")
    job: Any = SentimentJob(provider, request, pipeline.admission, pipeline._outbox, pipeline._packs)
    return lambda: run(pipeline.travel(job, Ask(provider.source, request)))
