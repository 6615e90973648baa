"""The app: routes, errors, and what every answer carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tbcache.api import cache, docs, error, health, limit, metrics, operate, page, sentiment, status, usage
from tbcache.api.access import Access
from tbcache.api.context import Context
from tbcache.models.version import __version__
from tbcache.settings import Settings, get_settings


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
    )
    app.state.context = context
    for part in (status, cache, limit, usage, operate, health, metrics, docs):
        app.include_router(part.router)
    app.include_router(cache.write_router)
    app.include_router(operate.write_router)
    app.include_router(sentiment.router)
    app.include_router(page.router)
    app.add_middleware(Access, token=context.settings.api_token)
    app.add_middleware(NoStore)
    error.install(app)
    return app


class NoStore:
    """Figures of a moment ago are wrong: nobody may keep an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, stamped)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.context.close()
