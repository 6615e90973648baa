"""Decides who may read and change something: whoever has a token, or, without one, this machine's users.

Reading asks for a token only from beyond this machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from tbcache.api.address import is_loopback, is_of_this_machine, read_host
from tbcache.api.context import get_context
from tbcache.api.parameter import CALLER
from tbcache.api.query import QueryRoute, check_query, has_body
from tbcache.api.token import Scope, Tokens
from tbcache.models.caller import caller

CALLER_HEADER = "X-Tbcache-Caller"


def _document_caller(
    caller_header: Annotated[
        str | None,
        Header(
            alias=CALLER_HEADER,
            description="In whose name this is asked; else in that of the API.",
            json_schema_extra=CALLER,
        ),
    ] = None,
) -> None:
    """The header in the OpenAPI document; :class:`WriteRoute` goes by it."""


#: Says in the OpenAPI document how to authenticate; :class:`WriteRoute` does the checking.
SCHEMES = [
    Security(HTTPBearer(auto_error=False)),
    Security(APIKeyHeader(name="X-API-Token", auto_error=False)),
    Depends(_document_caller),
]

NOT_LET_IN = "this needs the API's token: send it as `Authorization: Bearer TOKEN` or `X-API-Token: TOKEN`"
NOT_LOCAL = "without a token this is for the API's own machine only: set TBCACHE_API_TOKEN there"
NO_BODY = "this takes no body: all that it does is said by its path"
ONLY_READS = "this token may only read: what changes something, or may cost money, needs TBCACHE_API_TOKEN"

LOG_IN = "log in first: /login"
OTHER_PAGE = "this cannot be asked by a web page of another site, or of another port"
NOT_PASSED_ON = "; the proxy has to pass on the Host that it was asked for (docs/api.md, Behind a proxy)"


class WriteRoute(QueryRoute):
    """A route that changes something, or may cost money: checked before a byte of its body is read."""

    scope: Scope = "act"

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def checked(request: Request) -> Response:
            check_write(request, get_context(request).tokens, self.scope)
            # What is meant by a body would go unheard, as a dry run that resets.
            if self.body_field is None and has_body(request):
                raise HTTPException(422, NO_BODY)
            name = request.headers.get(CALLER_HEADER)
            # Only who was let in may say in whose name they ask.
            with caller(name) if name is not None else contextlib.nullcontext():
                return await handler(request)

        return checked


def routers(prefix: str, tag: str) -> tuple[APIRouter, APIRouter]:
    """What reads below ``prefix``, and what changes something, or may cost money."""
    reads = APIRouter(prefix=prefix, tags=[tag], route_class=QueryRoute)
    return reads, APIRouter(prefix=prefix, tags=[tag], route_class=WriteRoute, dependencies=SCHEMES)


class ReadRoute(WriteRoute):
    """A route that changes nothing, and takes so long that no stranger's page may ask for it."""

    scope = "read"


def check_write(request: Request, tokens: Tokens, scope: Scope = "act") -> None:
    """
    Raises:
      HTTPException: 401 without a token, 403 with one that is not for this, or from elsewhere where there is
        none, 415 for a body that is not JSON.
    """
    if tokens.act or (scope == "read" and tokens.are_set):
        _check_scope(tokens.scope_of(request.headers), scope)
    else:
        _check_loopback(request)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body(request) and media_type != "application/json":
        raise HTTPException(415, 'the body must be JSON: send "Content-Type: application/json"')


def check_page_read(request: Request, tokens: Tokens) -> None:
    """The same for a page that takes as long as what a :class:`ReadRoute` is for.

    Raises:
      HTTPException: 401 without a session or a token where one is set, 403 from elsewhere where none is, or
        from another site's page.
    """
    if not tokens.are_set:
        _check_loopback(request)
    elif tokens.scope_of_page(request.headers) is None:
        raise HTTPException(401, LOG_IN)
    else:
        check_own_page(request)


def check_act(request: Request, tokens: Tokens) -> None:
    """The same for a form of the page: whoever has logged in, from the page itself.

    Raises:
      HTTPException: 401 without a session or a token, 403 with one that may only read, from elsewhere, or
        from another site's page.
      RequestValidationError: 422 where anything stands behind the ``?``.
    """
    scope = tokens.scope_of_page(request.headers)
    if not tokens.act:
        _check_loopback(request)
    elif scope is None:
        raise HTTPException(401, LOG_IN)
    else:
        _check_scope(scope, "act")
        check_own_page(request)
    check_query(request, {})


def _check_scope(scope: Scope | None, wanted: Scope) -> None:
    if scope is None:
        raise HTTPException(401, NOT_LET_IN, headers={"WWW-Authenticate": "Bearer"})
    if wanted == "act" and scope == "read":
        raise HTTPException(403, ONLY_READS)


def _check_loopback(request: Request) -> None:
    if not is_of_this_machine(request.scope, request.headers):
        raise HTTPException(403, NOT_LOCAL)
    # A page in a browser on this machine comes from loopback, too: where its name was rebound to
    # 127.0.0.1 it is told from a user by its Host, else by what browsers say of it.
    if not is_loopback(read_host("//" + request.headers.get("host", ""))):
        raise HTTPException(403, "without a token the Host must be localhost or 127.0.0.1")
    check_own_page(request)


def check_own_page(request: Request) -> None:
    """See that no web page asks that is not of this very host and port: another site's would have the
    browser's owner log out, or use up the guesses of their address.

    A page of another port of this machine is a stranger's as well: that of a notebook, or of anybody's tool.
    """
    headers = request.headers
    # A picture has no Origin; browsers say by this where it is asked from.
    site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
    is_own = origin is None or _netloc(origin) == headers.get("host", "").lower()
    if site not in ("none", "same-origin") or not is_own:
        # To its browser it may be a page of this site: who stands between has asked for another Host.
        raise HTTPException(403, OTHER_PAGE + (NOT_PASSED_ON if site == "same-origin" else ""))


def _netloc(url: str) -> str | None:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return None


def barred(request: Request) -> str:
    """Why an act of whoever asks would be refused (`check_act`); nothing where it would not."""
    tokens = get_context(request).tokens
    if not tokens.act:
        return "" if is_of_this_machine(request.scope, request.headers) else NOT_LOCAL
    scope = tokens.scope_of_page(request.headers)
    return {"act": "", "read": ONLY_READS}.get(scope or "", LOG_IN)
