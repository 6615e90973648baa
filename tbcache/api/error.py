"""Every error is an object in the form of RFC 9457, which says in ``detail`` what is wrong, in one line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from tbcache.api.page.render import error_page, wants_page
from tbcache.io import utc_now
from tbcache.io.web_protocol import PROBLEM, problem
from tbcache.models.error import (
    AnswerPending,
    BudgetExhausted,
    ConfigurationError,
    InvalidRequest,
    Paused,
    RateLimited,
    RedisUnreachable,
    RepositoryUnavailable,
    ResultTimeout,
    TbcacheError,
    UnknownJob,
    UnknownSource,
    UpstreamError,
    nearest,
)
from tbcache.models.reason import in_plain_words
from tbcache.models.untrusted import printable, quoted

#: So much of a path is repeated.
MOST_PATH = 200
#: What is said where a body that has to be there is not.
NO_BODY = "it is missing: what is meant stands there, as JSON; of a whole queue that is {}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of error: its name, its title, and the status that it is answered with."""

    name: str
    title: str
    status: int

    @property
    def type(self) -> str:
        """Where it is explained."""
        return f"/docs#{self.name}"


#: The first that an error is an instance of is its kind.
KINDS: Mapping[type[TbcacheError], Kind] = {
    UnknownJob: Kind("unknown-job", "No such job is queued", 404),
    InvalidRequest: Kind("invalid-request", "This cannot be asked for", 422),
    UnknownSource: Kind("unknown-source", "No such source or queue", 404),
    AnswerPending: Kind("answer-pending", "Another process is still fetching it", 429),
    Paused: Kind("paused", "An operator has stopped this", 429),
    BudgetExhausted: Kind("budget-exhausted", "The money for today is spent", 429),
    RateLimited: Kind("rate-limited", "No slot of the limit is free in time", 429),
    ResultTimeout: Kind("result-timeout", "The result did not come in time", 504),
    UpstreamError: Kind("upstream", "The upstream gave no answer of use", 502),
    RedisUnreachable: Kind("redis-unreachable", "Redis cannot be used", 503),
    RepositoryUnavailable: Kind("repository-unavailable", "The database cannot be used", 503),
    ConfigurationError: Kind("configuration", "A setting of the API is wrong", 503),
}


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` in this form."""
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(TbcacheError)(_ours)
    app.exception_handler(Exception)(_unexpected)


def _http(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request, headers.get("Allow", "")))
    return _answer(request, error.status_code, _text(request, error, headers), headers)


def _methods(request: Request, found: str) -> list[str]:
    """Those that the path has: more than those of the route that was ``found`` first."""
    path = request.scope["path"]
    known = [method for name, methods in _listed(request) if _is_of(path, name) for method in methods]
    methods = {*known, *filter(None, found.split(", "))}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def _listed(request: Request) -> Iterator[tuple[str, Iterable[str]]]:
    """The paths of /docs and their methods. The document has them too, and takes long to make."""
    for route in request.app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            yield route.path_format, route.methods or ()


def _is_of(path: str, template: str) -> bool:
    parts, wanted = path.split("/"), template.split("/")
    return len(parts) == len(wanted) and all(
        part == want or want.startswith("{") for part, want in zip(parts, wanted, strict=True)
    )


def _text(request: Request, error: HTTPException, headers: Mapping[str, str]) -> str:
    # `request.url` is not used, as the path that was asked for need not make a valid URL.
    path = request.scope["path"][:100]
    if error.status_code == 404 and error.detail == HTTPStatus.NOT_FOUND.phrase:
        known = {name for name, _ in _listed(request)}
        return f"no such path {path!r}{nearest(path, known) or '; /docs lists them all'}"
    if error.status_code == 405:
        return f"{request.method} is not for {path}; use {headers['Allow'].replace(', ', ' or ')}"
    return str(error.detail)


def _invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(part for part in first["loc"][1:] if isinstance(part, str)) or first["loc"][0]
    if first["type"] == "json_invalid":
        return _answer(request, 422, f"{where}: it is no valid JSON ({first['ctx']['error']})")
    if first["loc"] == ("body",) and first["type"] == "missing":
        return _answer(request, 422, f"body: {NO_BODY}")
    return _answer(request, 422, f"{where}: {printable(in_plain_words(first))}{_given(first)}")


def _given(error: Mapping[str, Any]) -> str:
    """What of the query was not understood; a body is in the hands of whoever sent it."""
    # Of what is missing the input is all that was said.
    is_given = error["loc"][0] == "query" and error["type"] != "missing" and error["input"]
    return f", not {quoted(error['input'])}" if is_given else ""


def _ours(request: Request, error: TbcacheError) -> Response:
    found = next((known for kind, known in KINDS.items() if isinstance(error, kind)), None)
    if found is None:
        return _answer(request, 500, str(error))
    more = {"type": found.type, "title": found.title, **_known_of(error)}
    return _answer(request, found.status, str(error), _retry_after(error), **more)


def _known_of(error: TbcacheError) -> dict[str, object]:
    """What an error says beside its line, for programs."""
    source, retry_at = getattr(error, "source", None), _retry_at(error)
    found = {"source": source, "retry_at": f"{retry_at:%Y-%m-%dT%H:%M:%SZ}" if retry_at else None}
    return {name: value for name, value in found.items() if value is not None}


def _retry_at(error: TbcacheError) -> datetime | None:
    # Nobody knows when an operator resumes what is paused.
    if isinstance(error, Paused):
        return None
    return error.retry_at if isinstance(error, RateLimited | UpstreamError) else None


def _retry_after(error: TbcacheError) -> dict[str, str]:
    retry_at = _retry_at(error)
    if retry_at is None:
        return {}
    return {"Retry-After": str(max(1, math.ceil((retry_at - utc_now()).total_seconds())))}


def _unexpected(request: Request, error: Exception) -> Response:
    # The text of the error may hold anything, secrets too; it is in the log.
    text = f"internal error ({type(error).__name__}); the API's log has the rest"
    return _answer(request, 500, text)


def _answer(
    request: Request, status: int, text: str, headers: dict[str, str] | None = None, **more: object
) -> Response:
    if wants_page(request):
        return error_page(status, text.encode(errors="replace").decode(), headers or {})
    return error_response(status, text, headers, path=request.scope["path"], **more)


def error_response(
    status: int, text: str, headers: dict[str, str] | None = None, *, path: str, **more: object
) -> JSONResponse:
    """An error in the one form, of a request of ``path``; what of ``text`` is no Unicode is replaced."""
    sound, stamped = text.encode(errors="replace").decode(), {"Cache-Control": "no-store", **(headers or {})}
    instance = quote(path[:MOST_PATH].encode(errors="replace"))
    body = problem(status, sound, instance=instance, **more)
    return JSONResponse(body, status, headers=stamped, media_type=PROBLEM)
