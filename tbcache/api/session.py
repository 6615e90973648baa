"""Who has logged in to the page: a cookie that says until when, sealed with the API's token.

Nothing of it is kept, so that any process of the API lets in whom another has, and another token ends all.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator

from fastapi import Request, Response
from starlette.datastructures import Headers

from tbcache.models.secret import SecretStr

COOKIE = "tbcache_session"
SECONDS = 12 * 3600


def new_session(token: SecretStr) -> str:
    """The cookie's value for who has given the token."""
    until = int(time.time()) + SECONDS
    return f"{until}.{_seal(token, until)}"


def session_seconds(headers: Headers, token: SecretStr) -> float:
    """For how long a cookie of ours in ``headers`` lets in; 0.0 where there is none, or it has expired."""
    return max((_seconds(value, token) for value in _values(headers)), default=0.0)


def _seconds(value: str, token: SecretStr) -> float:
    until, _, seal = value.partition(".")
    if not (until.isdecimal() and until.isascii() and len(until) < 12):
        return 0.0
    # The seal is compared in any case, so that the time it takes says nothing.
    is_ours = hmac.compare_digest(seal.encode("latin-1", "replace"), _seal(token, int(until)).encode())
    return max(0.0, int(until) - time.time()) if is_ours else 0.0


def _seal(token: SecretStr, until: int) -> str:
    return hmac.new(
        token.get_secret_value().encode(), f"page until {until}".encode(), hashlib.sha256
    ).hexdigest()


def _values(headers: Headers) -> Iterator[str]:
    """Those of our name. Other programs of this host share our cookies, and write into theirs what
    ``http.cookies`` stops at."""
    for pair in headers.get("cookie", "").split(";"):
        name, _, value = pair.partition("=")
        if name.strip() == COOKIE:
            yield value.strip()


def set_cookie(
    request: Request, answer: Response, name: str, value: str, seconds: int, path: str = "/"
) -> None:
    """Have the browser keep a cookie that no script reads, and no other site has it send."""
    is_secure = request.url.scheme == "https"
    answer.set_cookie(name, value, seconds, path=path, httponly=True, samesite="strict", secure=is_secure)
