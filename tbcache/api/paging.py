"""Lists a page at a time: where the next one is stands in the header ``Link`` (RFC 8288)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Request, Response

T = TypeVar("T")


class _Pages:
    """The pages of what is asked for."""

    def __init__(self, request: Request, response: Response) -> None:
        self._request, self._response = request, response

    def cut(self, found: Sequence[T], most: int, **at: Callable[[Sequence[T]], object]) -> list[T]:
        """A page of ``found``, of which one more was asked for; where the next one is, ``at`` says of it."""
        page = list(found[:most])
        if len(found) > most:
            self.go_on(**{name: str(place_of(page)) for name, place_of in at.items()})
        return page

    def go_on(self, **at: str) -> None:
        """Say where the next page is: the same path with the same query, but for what is named."""
        query = urlencode({**self._request.query_params, **at})
        self._response.headers["Link"] = f'<{self._request.url.path}?{query}>; rel="next"'


Pages = Annotated[_Pages, Depends()]
