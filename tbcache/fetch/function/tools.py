"""What the fetchers of a source stand on in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cached_property

from tbcache.admission.join import joining
from tbcache.cache import CacheManager, get_cache_manager
from tbcache.fetch import Pipeline, get_pipeline
from tbcache.store import get_store

#: So often the fleet is told that the source is in use, and what has stopped is started again.
JOIN_SECONDS = 10.0


class Tools:
    """Made at the first call: to declare a source opens nothing."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._joined: tuple[int, float] | None = None

    @cached_property
    def pipeline(self) -> Pipeline:
        return get_pipeline()

    @cached_property
    def cache(self) -> CacheManager:
        return get_cache_manager()

    @property
    def has_joined(self) -> bool:
        """True while the fleet knows this process, which is another one in a forked child."""
        pid, at = self._joined or (0, 0.0)
        return pid == os.getpid() and time.monotonic() - at < JOIN_SECONDS

    def join(self) -> None:
        """Make this process known to the fleet; to be called before each request. May ask Redis.

        Raises:
          InvalidRequest: the source's name is one too many.
        """
        self._join()
        self._joined = os.getpid(), time.monotonic()

    @cached_property
    def _join(self) -> Callable[[], None]:
        store = get_store()
        store.keys = store.keys.knowing(self._source)
        return joining(self._source)
