"""Makes the provider of a source by its name."""

from __future__ import annotations

from tbcache.fetch.tools import Tools
from tbcache.models.error import ConfigurationError
from tbcache.providers.base import Provider
from tbcache.settings import get_settings, get_source, import_class


def new_provider(name: str) -> Provider:
    """A new provider of source ``name``; raises as :func:`tbcache.get_provider`."""
    settings = get_settings()
    source = get_source(name, settings)
    return _class_of(source.name, source.provider)(source, settings.source(name))


def check_database() -> None:
    """
    Raises:
      ConfigurationError: the database of this process's settings cannot be used at all.
    """
    Tools().repository  # noqa: B018 -- it is made with the first look


def _class_of(name: str, path: str) -> type[Provider]:
    found = import_class(name, path)
    if not issubclass(found, Provider):
        raise ConfigurationError(f"TBCACHE_SOURCES: {name}={path} is no subclass of tbcache.Provider")
    return found
