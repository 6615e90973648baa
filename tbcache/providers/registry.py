"""Makes the provider of a source by its name."""

from __future__ import annotations

import inspect
import warnings

from tbcache.fetch.tools import Tools
from tbcache.models.error import ConfigurationError, TbcacheWarning
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
    if "now" in inspect.signature(found.request).parameters:
        # It would count the hours back from there once more, and ask for twice as much.
        warnings.warn(
            f"{path}.request is given the moment to ask from in the place of the present one: "
            "request(self, fetch, cursor, since); fetch.now(since) is the present one",
            TbcacheWarning,
            stacklevel=2,
        )
    return found
