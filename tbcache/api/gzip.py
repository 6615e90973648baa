"""Compression, for whoever accepts it: starlette looks for the word alone, and not for what is said of it."""

from __future__ import annotations

import re

from fastapi.middleware.gzip import GZipMiddleware
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")


class Gzip(GZipMiddleware):
    """Compresses what is large for whoever accepts gzip (RFC 9110, 12.5.3)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            said = ",".join(Headers(scope=scope).getlist("accept-encoding"))
            others = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
            meant = b"gzip" if accepts_gzip(said) else b"identity"
            scope = {**scope, "headers": [*others, (b"accept-encoding", meant)]}
        await super().__call__(scope, receive, send)


def accepts_gzip(said: str) -> bool:
    """Whether an ``Accept-Encoding`` names gzip, in letters of any size, without refusing it by ``q=0``."""
    for coding in said.lower().split(","):
        name, *parameters = (part.strip() for part in coding.split(";"))
        if name in ("gzip", "x-gzip"):
            return not any(_REFUSED.fullmatch(one) for one in parameters)
    return False
