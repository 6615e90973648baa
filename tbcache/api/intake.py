"""How much one client may send and have in hand: what comes beyond that is refused at once."""

from __future__ import annotations

from collections import Counter

from fastapi import HTTPException
from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tbcache.api.address import client_of
from tbcache.api.error import error_response

#: The largest body that any route has a use for.
MAX_BODY_BYTES = 16 * 1024
#: The longest that may follow the ``?``: all that any route knows of is shorter.
MAX_QUERY_BYTES = 4 * 1024
#: So many requests of one client are answered at once; a page that is watched is none of them.
MOST_IN_HAND = 64
#: Below it answers are asked for, some of which wait for a slot.
ASKS = "/api/sentiment/"

_TOO_LARGE = f"the body has more than {MAX_BODY_BYTES} bytes"
_TOO_LONG = f"what follows the ? has more than {MAX_QUERY_BYTES} bytes"
_TOO_MANY = f"{MOST_IN_HAND} requests of yours are being answered already; try again when one of them is"


class Intake:
    """Refuses what is too large, and who has too many requests in hand."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._in_hand = Counter[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = client_of(scope)
        if (refusal := self._refuse(scope, client)) is not None:
            await refusal(scope, receive, send)
            return
        is_counted = _is_counted(scope["path"])
        self._in_hand[client] += is_counted
        try:
            await self._app(scope, _bounded(receive), send)
        finally:
            self._in_hand[client] -= is_counted
            if not self._in_hand[client]:
                del self._in_hand[client]

    def _refuse(self, scope: Scope, client: str) -> Response | None:
        path = scope["path"]
        if int(Headers(scope=scope).get("content-length", 0)) > MAX_BODY_BYTES:
            return error_response(413, _TOO_LARGE, path=path)
        if len(scope.get("query_string", b"")) > MAX_QUERY_BYTES:
            return error_response(414, _TOO_LONG, path=path)
        if _is_counted(path) and self._in_hand[client] >= MOST_IN_HAND:
            return error_response(429, _TOO_MANY, {"Retry-After": "1"}, path=path)
        return None


def _is_counted(path: str) -> bool:
    """Asks for answers have a bound of their own (``crew.Places``): who waits is shut out of nothing else."""
    return path.startswith("/api/") and not path.startswith(ASKS)


def _bounded(receive: Receive) -> Receive:
    """A body of unknown length is counted as it comes."""
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return bounded
