"""Tests must not ask, without knowing it, what the program asks that they test."""

from __future__ import annotations

from tbcache.models.error import ConfigurationError
from tbcache.settings import get_settings


def check_early() -> None:
    """
    Raises:
      ConfigurationError: this process goes by other settings already, and would not see new variables. It
        might use the Redis of production.
    """
    if get_settings.cache_info().currsize:
        raise ConfigurationError(
            f"this process has read its settings, and goes by the Redis {get_settings().redis_address}: "
            "begin before your program is imported, as the conftest.py in docs/testing.md does"
        )
