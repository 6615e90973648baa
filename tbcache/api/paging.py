"""Lists a page at a time: where the next one is stands in the header ``Link`` (RFC 8288)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlencode

from fastapi import Request, Response

T = TypeVar("T")


def page_of(found: Sequence[T], most: int) -> tuple[Sequence[T], bool]:
    """A page of ``found``, of which one more was asked for, and whether there is more."""
    return found[:most], len(found) > most


def link_next(request: Request, response: Response, **at: str) -> None:
    """Say where the next page is: the same path with the same query, but for what is named."""
    query = urlencode({**request.query_params, **at})
    response.headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
