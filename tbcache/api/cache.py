"""The cache: where it stands, and clearing it."""

from __future__ import annotations

from typing import Annotated

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, ConfigDict, Field

from tbcache.api.context import Ctx, Op
from tbcache.api.model.schema import RequestBody
from tbcache.api.security import routers
from tbcache.fleet import CacheUsage, Cleared

router, write_router = routers("/api/monitoring/cache", "monitoring")


LONGEST_PATTERN = 256


def _pattern(text: str) -> str:
    if not 1 <= len(text) <= LONGEST_PATTERN or not text.isprintable():
        raise ValueError(
            f"a pattern has 1 to {LONGEST_PATTERN} printable characters, like twitter:* or *:AAPL:*"
        )
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class ClearRequest(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"pattern": "twitter:*", "dry_run": True}]})

    pattern: Pattern = Field(description="A glob of cache keys; `*` clears everything.")
    dry_run: bool = Field(False, description="Only say what it would remove.")


@router.get("/status")
def cache_status(context: Ctx) -> CacheUsage:
    """Is the shared cache there, how large is it, and how often does it have the answer?"""
    return context.fleet.cache()


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
    if is_dry:
        return Cleared.dry(chosen, context.fleet.preview(chosen))
    count = operator.clear(chosen)
    return Cleared.of(chosen, count, "" if count else context.fleet.preview(chosen).near)
