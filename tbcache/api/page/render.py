"""HTML from templates; whatever a figure's text holds is escaped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from tbcache.api.page import code_word, words

#: Nothing is loaded from elsewhere, nothing runs that is not a file of ours, and nobody frames it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
STATIC = Path(__file__).with_name("static")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tbcache.api.page", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in (
        "age",
        "commands",
        "dollars",
        "percent",
        "milliseconds",
        "signed",
        "span",
        "megabytes",
        "number",
        "login",
    ):
        environment.filters[name] = getattr(words, name)
    for name in ("reason", "rule", "item"):
        environment.filters[name] = getattr(code_word, name)
    environment.filters["it"] = words.it
    environment.globals |= {"moment": words.moment, "static": static}
    return environment


def render(template: str, **names: Any) -> str:
    """The text of a template with these names."""
    return _environment().get_template(template).render(**names)


def page(template: str, status_code: int = 200, **names: Any) -> HTMLResponse:
    """A page of a template."""
    return HTMLResponse(render(template, **names), status_code, headers=HEADERS)


def static(name: str) -> str:
    """The path of a file that never changes under that path: it ends in a digest of the file."""
    return f"/static/{name}?{digest_of(name)}"


@cache
def digest_of(name: str) -> str:
    """That of a file of ours, as its path has it."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


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
