"""The providers: one class per source, the built-in ones and the user's own."""

from __future__ import annotations

from tbcache.errors import ConfigurationError
from tbcache.providers.base import Provider
from tbcache.providers.client import HeaderAuth
from tbcache.settings import get_settings
from tbcache.singleton import singleton
from tbcache.sources import get_source, load_class

__all__ = ["HeaderAuth", "Provider", "get_provider"]


@singleton
def get_provider(name: str) -> Provider:
    """The provider of source ``name``.

    Raises:
      UnknownSource: no such source; names the nearest one.
      ConfigurationError: the class that ``TBCACHE_SOURCES`` names cannot be used.
    """
    settings = get_settings()
    source = get_source(name, settings)
    return _load(source.name, source.provider)(source, settings.source(name))


def _load(name: str, path: str) -> type[Provider]:
    found = load_class(name, path)
    if not issubclass(found, Provider):
        raise ConfigurationError(f"TBCACHE_SOURCES: {name}={path} is no subclass of tbcache.Provider")
    return found
