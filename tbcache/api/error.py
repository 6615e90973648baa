"""Every error is an object in the form of RFC 9457, which says in ``detail`` what is wrong, in one line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tbcache.api.model import Error
from tbcache.io import utc_now
from tbcache.io.web_protocol import PROBLEM, problem
from tbcache.models.error import (
    ConfigurationError,
    InvalidRequest,
    RateLimited,
    RedisUnreachable,
    RepositoryUnavailable,
    TbcacheError,
    UnknownSource,
    UpstreamError,
    nearest,
)
from tbcache.models.untrusted import printable, quoted
from tbcache.settings import in_plain_words

#: For ``responses=`` of a route: every refusal has the same form.
REFUSALS: dict[int | str, dict[str, Any]] = {status: {"model": Error} for status in (403, 422, 503)}
ANSWER_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (401, 403, 404, 422, 429, 502, 503)
}
WRITE_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (401, 403, 413, 415, 422, 503)
}

_STATUS: tuple[tuple[type[TbcacheError], int], ...] = (
    (InvalidRequest, 422),
    (UnknownSource, 404),
    (RateLimited, 429),
    (UpstreamError, 502),
    (RedisUnreachable, 503),
    (RepositoryUnavailable, 503),
    (ConfigurationError, 503),
)


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` in this form."""
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(TbcacheError)(_ours)
    app.exception_handler(Exception)(_unexpected)


def _http(request: Request, error: HTTPException) -> JSONResponse:
    return error_response(error.status_code, _text(request, error), dict(error.headers or {}))


def _text(request: Request, error: HTTPException) -> str:
    # `request.url` is not used, as the path that was asked for need not make a valid URL.
    path = request.scope["path"][:100]
    if error.status_code == 404:
        known = request.app.openapi()["paths"]
        return f"no such path {path!r}{nearest(path, known) or '; /docs lists them all'}"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return f"{request.method} is not for {path}; use {allowed}"
    return str(error.detail)


def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    where = ".".join(part for part in first["loc"][1:] if isinstance(part, str)) or first["loc"][0]
    if first["type"] == "json_invalid":
        return error_response(422, f"{where}: it is no valid JSON ({first['ctx']['error']})")
    return error_response(422, f"{where}: {printable(in_plain_words(first))}{_given(first)}")


def _given(error: Mapping[str, Any]) -> str:
    """What of the query was not understood; a body is in the hands of whoever sent it."""
    is_value = error["loc"][0] == "query" and error["type"] != "extra_forbidden"
    return f", not {quoted(error['input'])}" if is_value and error["input"] else ""


def _ours(request: Request, error: TbcacheError) -> JSONResponse:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return error_response(status, str(error), _retry_after(error))


def _retry_after(error: TbcacheError) -> dict[str, str]:
    retry_at = error.retry_at if isinstance(error, RateLimited | UpstreamError) else None
    if retry_at is None:
        return {}
    return {"Retry-After": str(max(1, math.ceil((retry_at - utc_now()).total_seconds())))}


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # The text of the error may hold anything, secrets too; it is in the log.
    return error_response(500, f"internal error ({type(error).__name__}); the API's log has the rest")


def error_response(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error in the one form; what of ``text`` is no valid Unicode is replaced."""
    sound = text.encode(errors="replace").decode()
    stamped = {"Cache-Control": "no-store", **(headers or {})}
    return JSONResponse(problem(status, sound), status, headers=stamped, media_type=PROBLEM)
