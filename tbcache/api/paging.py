"""Lists a page at a time: where the next one is stands in the header ``Link`` (RFC 8288)."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Request, Response


def link_next(request: Request, response: Response, **at: str) -> None:
    """Say where the next page is: the same path with the same query, but for what is named."""
    query = urlencode({**request.query_params, **at})
    response.headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
