"""The objects of this process that the fetchers of a source use."""

from __future__ import annotations

from tbcache.admission.registration import Registration, registering
from tbcache.cache import CacheManager, get_cache_manager
from tbcache.fetch import Pipeline, get_pipeline
from tbcache.io.boundary import process_property
from tbcache.store import get_store


class FunctionTools:
    """Each is made when it is first used, so that declaring a source opens nothing."""

    def __init__(self, source: str) -> None:
        self._source = source

    @process_property
    def pipeline(self) -> Pipeline:
        return get_pipeline()

    @process_property
    def cache(self) -> CacheManager:
        return get_cache_manager()

    @process_property
    def registration(self) -> Registration:
        """Makes this process known to the fleet, and is to be called before a request where it is due.

        Raises:
          InvalidRequest: the name of the source is one name too many.
        """
        store = get_store()
        store.keys = store.keys.knowing(self._source)
        return registering(self._source)
