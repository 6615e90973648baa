"""What is refused before any route looks at it: a Host that is not ours, or a stranger."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tbcache.api.address import is_address, is_loopback, is_of_this_machine, read_host
from tbcache.api.error import error_response
from tbcache.api.guess import SHUT, Guesses
from tbcache.api.security import NOT_LET_IN, NOT_LOCAL
from tbcache.api.token import Tokens, shown_in

#: The paths that tell nothing of the fleet: they are for everyone who can reach the API.
OPEN = frozenset(("/docs", "/openapi.json", "/healthz", "/readyz", "/login"))
#: Below it lie the scripts and styles of the page.
STATIC = "/static/"

_OTHER_HOST = (
    "without a token the Host must be localhost or an address: ask that way, "
    "or set TBCACHE_API_TOKEN where the API runs"
)


class Access:
    """Refuses of who shows no token any Host but `localhost` and addresses, where none is needed.

    A page in a browser can have its own name resolve to any address, this one included (DNS
    rebinding), and would read what it says; but the Host is that name then. With a token the API
    is meant to be reached from elsewhere, under whatever name: whoever asks from there says the token.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens, guesses: Guesses) -> None:
        self._app = app
        self._tokens, self._guesses = tokens, guesses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (refusal := self._refuse_token(scope) or self._refuse(scope, Headers(scope=scope))) is not None:
            await refusal(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_begun = False

        async def recorded(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._app(scope, receive, recorded)
        except asyncio.CancelledError:
            # The server stops. uvicorn would say so as plain text, and log it as an error of the app.
            if is_begun:
                raise
            await error_response(503, "the API stops", path=scope["path"])(scope, receive, send)

    def _refuse_token(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._tokens.are_set or not (shown := shown_in(headers)):
            return None
        if seconds := self._guesses.seconds_shut(scope):
            return error_response(429, SHUT, {"Retry-After": str(seconds)}, path=scope["path"])
        if self._tokens.scope_of(headers) is None:
            for one in shown:
                self._guesses.count(scope, one)
        return None

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        given, path = headers.get("host"), scope["path"]
        host, has_tokens = read_host(f"//{given}"), self._tokens.are_set
        is_let_in = self._tokens.scope_of_page(headers) is not None
        is_by_place = not has_tokens or (is_of_this_machine(scope, headers) and not _is_open(path))
        is_plain = given is None or is_loopback(host) or is_address(host)
        if is_by_place and not is_let_in and not is_plain:
            return _login(scope, headers) if has_tokens else error_response(403, _OTHER_HOST, path=path)
        if given is not None and host is None:
            return error_response(400, "the Host header names no host", path=path)
        if not _is_open(path) and not is_of_this_machine(scope, headers):
            if not has_tokens:
                return error_response(403, NOT_LOCAL, path=path)
            if not is_let_in:
                return _login(scope, headers)
        return None


def _is_open(path: str) -> bool:
    return (path.rstrip("/") or "/") in OPEN or path.startswith(STATIC)


def _login(scope: Scope, headers: Headers) -> Response:
    """A browser is sent to where one logs in."""
    if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
        return RedirectResponse("/login?" + urlencode({"back": scope["path"]}), 303)
    return error_response(401, NOT_LET_IN, {"WWW-Authenticate": "Bearer"}, path=scope["path"])
