"""The cache: where it stands, and clearing it."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError

from tbcache.api.context import Context, Ctx
from tbcache.api.error import WRITE_REFUSALS
from tbcache.api.model import CacheHealth, Cleared, ClearRequest, Pattern
from tbcache.api.security import SCHEMES, WriteRoute

router = APIRouter(prefix="/api/monitoring/cache", tags=["monitoring"])
write_router = APIRouter(
    prefix="/api/monitoring/cache",
    tags=["monitoring"],
    route_class=WriteRoute,
    dependencies=SCHEMES,
    responses=WRITE_REFUSALS,
)


@router.get("/status")
def cache_status(context: Ctx) -> CacheHealth:
    """Is the shared cache there, how large is it, and how often does it have the answer?"""
    return read_health(context)


@write_router.post("/clear")
def clear_cache(context: Ctx, body: ClearRequest | None = None, pattern: Pattern | None = None) -> Cleared:
    """Remove every key that matches `pattern`, given as JSON or in the query; `*` clears everything.

    Needs the token where `TBCACHE_API_TOKEN` is set, and is for the API's own machine otherwise.
    """
    chosen = body.pattern if body else pattern
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
    context.store.require()
    cleared = context.cache.clear_pattern(chosen)
    context.check()
    return Cleared(pattern=chosen, cleared=cleared)


def read_health(context: Context) -> CacheHealth:
    status = context.cache.status()
    today = context.monitor.get_usage_summary()
    metrics = today["sources"].values()
    # Zeros would look like a quiet day.
    is_known = status.is_available and context.store.is_available
    return CacheHealth(
        is_available=status.is_available,
        address=status.address,
        reason=None if status.is_available else context.why_away(),
        namespace=context.settings.namespace,
        server_version=status.server_version,
        ping_ms=status.ping_ms,
        keys=status.keys,
        memory_bytes=status.memory_bytes,
        hits_today=sum(one.hits_today + one.stale_today for one in metrics) if is_known else None,
        misses_today=sum(one.misses_today for one in metrics) if is_known else None,
        cache_hit_rate=today["average_cache_hit_rate"] if is_known else None,
    )
