"""A call to a simulated API, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import msgspec

JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as an upstream sees it: no prefix before ``path``, header names in lower case."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. ``items`` and ``users`` are the ids of what it contains.

    ``cost`` (US dollars) is what the request costs beyond its items;
    ``is_page`` says that it is a page of items, which a replay may stand in for.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    items: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    cost: float = 0.0
    is_page: bool = False

    @classmethod
    def json(cls, status: int, body: Any, *, content_type: str = JSON) -> Self:
        return cls(status, msgspec.json.encode(body), {"content-type": content_type})

    @classmethod
    def page(cls, body: Any, items: tuple[str, ...], users: tuple[str, ...] = ()) -> Self:
        return cls(200, msgspec.json.encode(body), {"content-type": JSON}, items, users, is_page=True)

    @classmethod
    def html(cls, status: int, text: str) -> Self:
        return cls(status, text.encode(), {"content-type": HTML})

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        return replace(self, headers={**self.headers, **headers})
