"""The OpenAPI document: what FastAPI finds, with every refusal that a path may answer, and its headers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tbcache.api.access import OPEN
from tbcache.api.error import KINDS
from tbcache.api.model.schema import Error
from tbcache.api.session import COOKIE
from tbcache.api.token import Tokens
from tbcache.io.web_protocol import PROBLEM, problem
from tbcache.models.error import InvalidRequest, RateLimited, RedisUnreachable, UnknownSource, UpstreamError

Node = dict[str, Any]

#: What FastAPI would say of a request that it cannot read: ours say it as every other error.
_THEIRS = ("HTTPValidationError", "ValidationError")
#: The parameters that name something which may not be there.
_NAMES = ("name", "source", "queue")
#: Of each refusal a line as it may be.
_LINES = {
    400: "the Host header names no host",
    401: "this needs the API's token: send it as `Authorization: Bearer TOKEN` or `X-API-Token: TOKEN`",
    403: "without a token this is for the API's own machine only: set TBCACHE_API_TOKEN there",
    404: "unknown source 'twiter'; did you mean 'twitter'? (known: news, reddit, twitter)",
    405: "PUT is not for /api/weights; use GET or HEAD or POST",
    408: "the request's body did not come within 10 s",
    413: "the body has more than 16384 bytes",
    414: "what follows the ? has more than 4096 bytes",
    415: 'the body must be JSON: send "Content-Type: application/json"',
    422: "hours: input should be greater than or equal to 1, not '0'",
    431: "this is no HTTP request that can be answered (Receive buffer too long)",
    429: "twitter: limit reached; the next slot is free at 2026-11-26 14:30:05 UTC",
    500: "internal error (RuntimeError); the API's log has the rest",
    502: "twitter: the server failed (HTTP 500)",
    503: "Redis is not reachable at redis://localhost:6379/0 (connection refused). "
    "Start one with `docker compose up redis`, or run `tbcache up` for an embedded server.",
}
_KINDS = {
    404: KINDS[UnknownSource],
    422: KINDS[InvalidRequest],
    429: KINDS[RateLimited],
    502: KINDS[UpstreamError],
    503: KINDS[RedisUnreachable],
}
#: What the answers with these headers say by them.
_RETRY = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
_ALLOW = {"Allow": {"description": "The methods that it has.", "schema": {"type": "string"}}}
_HEADERS = {405: _ALLOW, 429: _RETRY}
_PLACE = {
    "Location": {"description": "Where the first of the jobs stands, if any.", "schema": {"type": "string"}}
}
_TAG = {"ETag": {"description": "For `If-None-Match`.", "schema": {"type": "string"}}}
_NEXT = {
    "Link": {"description": '`rel="next"`: the next page, if there is one.', "schema": {"type": "string"}}
}


#: What the page's login gives.
SESSION = "Session"
_COOKIE = {
    "type": "apiKey",
    "in": "cookie",
    "name": COOKIE,
    "description": "Who has logged in to the page may read with it, too.",
}

#: FastAPI's function is not for several threads at once: it fails with a KeyError of a field that it has just
#: listed. The routers are shared by all apps of a process, so this is as well.
_MAKING = threading.Lock()


def document(app: FastAPI) -> Node:
    """The whole document, made once."""
    with _MAKING:
        if app.openapi_schema is None:
            app.openapi_schema = _made(app)
        return app.openapi_schema


def _made(app: FastAPI) -> Node:
    found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = found["components"]["schemas"]
    found["components"]["securitySchemes"][SESSION] = _COOKIE
    for name in _THEIRS:
        schemas.pop(name, None)
    schemas["Error"] = Error.model_json_schema(ref_template="#/components/schemas/{model}")
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation, app.state.context.tokens)
    return found


def _complete(path: str, method: str, operation: Node, tokens: Tokens) -> None:
    responses = operation["responses"]
    named = {int(status) for status in responses if status.isdecimal() and int(status) >= 400}
    for status in sorted({*_refusals(path, method, operation), *named}):
        responses[str(status)] = _refusal(status, path)
    operation["security"] = _security(path, operation, tokens)
    if "202" in responses:
        responses["202"].setdefault("headers", {}).update(_PLACE)
    if method == "get" and path.startswith("/api/"):
        responses["200"].setdefault("headers", {}).update(_TAG)
        responses["304"] = {"description": "As `If-None-Match` has it.", "headers": _TAG}
        if any(one["name"] == "most" for one in operation.get("parameters", ())):
            responses["200"]["headers"].update(_NEXT)


def _security(path: str, operation: Node, tokens: Tokens) -> list[dict[str, list[str]]]:
    """What lets one in. From the API's own machine one reads without a token; where none is set, one does
    all."""
    if path in OPEN:
        return [{}]
    shown: list[dict[str, list[str]]] = [{"HTTPBearer": []}, {"APIKeyHeader": []}]
    if "security" not in operation:
        return [{}, *shown, {SESSION: []}]
    return shown if tokens.act else [{}, *shown]


def _refusals(path: str, method: str, operation: Node) -> Iterator[int]:
    yield from (400, 403, 405, 408, 414, 422, 431, 500)
    if path not in OPEN:
        yield 401
    if path.startswith("/api/"):
        yield from (429, 503)
    if method == "post":
        yield from (413, 415)
    parameters = operation.get("parameters", ())
    if any(one["in"] == "path" or one["name"] in _NAMES for one in parameters):
        yield 404


def _refusal(status: int, path: str) -> Node:
    kind = _KINDS.get(status)
    more = {"type": kind.type, "title": kind.title} if kind else {}
    example = problem(status, _LINES.get(status, HTTPStatus(status).phrase), instance=path, **more)
    schema = {"$ref": "#/components/schemas/Error"}
    content = {PROBLEM: {"schema": schema, "example": example}}
    headers = {"headers": _HEADERS[status]} if status in _HEADERS else {}
    return {"description": HTTPStatus(status).phrase, "content": content, **headers}
