"""Tests must not ask, without knowing it, what the program asks that they test."""

from __future__ import annotations

from tbcache.models.error import ConfigurationError
from tbcache.settings import get_settings

#: The address, with its password, of each server that this process has begun for tests.
SERVERS: set[str] = set()


def check_early() -> None:
    """
    Raises:
      ConfigurationError: this process goes by other settings already, and would not see new variables. It
        might use the Redis of production.
    """
    if get_settings.cache_info().currsize:
        settings = get_settings()
        is_of_tests = settings.redis in SERVERS
        raise ConfigurationError(
            f"this process has read its settings, and goes by the Redis {settings.redis_address}"
            f"{', which other tests of it have begun: share that one, and' if is_of_tests else ':'} "
            "begin before your program is imported, as the conftest.py in docs/testing.md does"
        )
