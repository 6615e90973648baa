"""The cache: where it stands, and clearing it."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError

from tbcache.api.context import Ctx, Op
from tbcache.api.model import CacheHealth, Cleared, ClearRequest, Pattern
from tbcache.api.query import QueryRoute
from tbcache.api.security import SCHEMES, WriteRoute

router = APIRouter(prefix="/api/monitoring/cache", tags=["monitoring"], route_class=QueryRoute)
write_router = APIRouter(
    prefix="/api/monitoring/cache",
    tags=["monitoring"],
    route_class=WriteRoute,
    dependencies=SCHEMES,
)


@router.get("/status")
def cache_status(context: Ctx) -> CacheHealth:
    """Is the shared cache there, how large is it, and how often does it have the answer?"""
    return CacheHealth.model_validate(context.fleet.cache())


@write_router.post("/clear")
def clear_cache(
    context: Ctx, operator: Op, body: ClearRequest | None = None, pattern: Pattern | None = None
) -> Cleared:
    """Remove every key that matches `pattern`, given as JSON or in the query; `*` clears everything.

    Needs the token where `TBCACHE_API_TOKEN` is set, and is for the API's own machine otherwise.
    """
    chosen, is_dry = (body.pattern, body.dry_run) if body else (pattern, False)
    if chosen is None:
        raise RequestValidationError(
            [
                {
                    "type": "value_error",
                    "loc": ("body", "pattern"),
                    "msg": 'say what to clear, like {"pattern": "twitter:*"}; "*" is all',
                }
            ]
        )
    count = context.fleet.preview(chosen).count if is_dry else operator.clear(chosen)
    return Cleared(pattern=chosen, cleared=count, is_done=not is_dry)
