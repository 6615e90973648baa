"""The cache: shared through Redis, and in this process's memory where that is safe or must be."""

from tbcache.cache.decorator import Cached, cached
from tbcache.cache.manager import CacheManager, CacheStatus, get_cache_manager
from tbcache.store.memory import MISSING

__all__ = ["MISSING", "CacheManager", "CacheStatus", "Cached", "cached", "get_cache_manager"]
