"""What the fetchers of a source stand on in this process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from tbcache.cache import CacheManager, get_cache_manager
from tbcache.pipeline import Pipeline, get_pipeline
from tbcache.rate_limiter import joining
from tbcache.store import get_store


class Tools:
    """Made at the first call: to declare a source opens nothing."""

    def __init__(self, source: str) -> None:
        self._source = source

    @cached_property
    def pipeline(self) -> Pipeline:
        return get_pipeline()

    @cached_property
    def cache(self) -> CacheManager:
        return get_cache_manager()

    @cached_property
    def join(self) -> Callable[[], None]:
        """Makes this process known to the fleet; to be called before each journey."""
        get_store().know(self._source)
        return joining(self._source)
