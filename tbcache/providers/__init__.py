"""The providers: one class per source, the built-in ones and the user's own.

All that a provider stands on is imported with the first one, as it takes some tenths of a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tbcache.io.singleton import singleton

if TYPE_CHECKING:
    from tbcache.providers.base import Provider
    from tbcache.providers.client import HeaderAuth
    from tbcache.providers.symbol import get_symbol, history

__all__ = ["HeaderAuth", "Provider", "get_provider", "get_symbol", "history"]

_HOME = {"HeaderAuth": "client", "Provider": "base", "get_symbol": "symbol", "history": "symbol"}


@singleton
def get_provider(name: str) -> Provider:
    """The provider of source ``name``.

    Raises:
      UnknownSource: no such source; names the nearest one.
      ConfigurationError: the class that ``TBCACHE_SOURCES`` names cannot be used.
    """
    from tbcache.providers.registry import new_provider

    return new_provider(name)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
