"""The app: routes, errors, and what every answer carries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from tbcache.api import (
    alert,
    cache,
    change,
    dead,
    docs,
    error,
    health,
    job,
    metrics,
    operate,
    page,
    sentiment,
    source,
    status,
    symbol,
    usage,
)
from tbcache.api.access import Access
from tbcache.api.context import Context
from tbcache.api.document import document
from tbcache.api.etag import ETags
from tbcache.api.gzip import Gzip
from tbcache.api.head import Heads
from tbcache.api.intake import Intake
from tbcache.models.version import __version__
from tbcache.settings import Settings, get_settings

#: What machines ask every few seconds, and what lasts for hours.
UNTRACED = ("/healthz", "/readyz", "/metrics", "/live/")
#: What has fewer bytes fits into one packet as it is.
LEAST_COMPRESSED = 1_000


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the API. Opens no socket before the first request; its lifespan closes them."""
    context = Context.of(settings or get_settings())
    app = FastAPI(
        title="tbcache",
        version=__version__,
        description="What the fleet does, what it costs, where each limit stands.",
        lifespan=_lifespan,
        # Theirs come from other hosts: blank without a way out.
        docs_url=None,
        redoc_url=None,
        # Of a request FastAPI tells one span, and no words of an error, where settings/telemetry.py says.
        telemetry={
            "auto_configure": False,
            "operation_spans": False,
            "logs": False,
            "exclude": lambda scope: scope["path"].startswith(UNTRACED),
        },
    )
    app.state.context = context
    for router in _routers():
        # As they are: `include_router` would make each route once more, for each app, at its first request.
        app.router.routes.extend(router.routes)
    app.add_middleware(Intake)
    app.add_middleware(Access, tokens=context.tokens, guesses=context.guesses)
    app.add_middleware(ETags)
    # No page of ours has a secret beside what its reader has typed: its length tells nothing (BREACH).
    app.add_middleware(Gzip, minimum_size=LEAST_COMPRESSED, compresslevel=6)
    app.add_middleware(Heads)
    error.install(app)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


def _routers() -> Iterator[APIRouter]:
    for part in (status, alert, source, symbol, usage, change, sentiment):
        yield part.router
    for part in (cache, job, dead, operate):
        yield from (part.router, part.write_router)
    yield from (sentiment.past_router, status.incident_router)
    for part in (health, metrics, docs, page):
        yield part.router


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.context.close()
