"""The page that says what is wrong, for who has asked for a page."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import Request
from fastapi.responses import HTMLResponse

from tbcache.api.page.render import page

#: What is below these is for programs, whatever they accept.
_FOR_PROGRAMS = ("/api/", "/metrics", "/healthz", "/readyz", "/openapi.json", "/live/", "/static/")


def wants_page(request: Request) -> bool:
    """True for a browser that has asked for a page of ours."""
    is_browser = "text/html" in request.headers.get("accept", "")
    return is_browser and not request.scope["path"].startswith(_FOR_PROGRAMS)


def error_page(status: int, text: str, headers: Mapping[str, str]) -> HTMLResponse:
    """A page that says ``text``, with a way out."""
    answer = page("error.html", status, title=HTTPStatus(status).phrase, text=text)
    answer.headers.update(headers)
    return answer
