"""What may be the key of a cached value."""

from __future__ import annotations

import re

from tbcache.models.error import InvalidRequest

MAX_KEY_CHARS = 512
# A lone surrogate is no text, so no key either.
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def check_key(key: str, what: str = "key") -> None:
    """
    Raises:
      InvalidRequest: ``key`` is no text, empty, longer than 512 characters, or has control characters.
    """
    if not isinstance(key, str):
        raise InvalidRequest(f"cache {what} {key!r:.60} is a {type(key).__name__}, not a str")
    if not key:
        raise InvalidRequest(f"cache {what} is empty")
    if len(key) > MAX_KEY_CHARS:
        raise InvalidRequest(
            f"cache {what} {key[:40]!r}... has {len(key)} characters; the most is {MAX_KEY_CHARS}"
        )
    if _CONTROL.search(key):
        raise InvalidRequest(f"cache {what} {key[:60]!r} has control characters")
