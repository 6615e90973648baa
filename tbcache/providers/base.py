"""What a provider is: it builds a request and reads an answer. The base does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime

import httpx2

from tbcache.models import FetchRequest, HttpRequest, Page, RawResponse
from tbcache.settings import SourceSettings
from tbcache.sources import Source


class Provider(ABC):
    """One upstream. A subclass says how to ask it and how to read what it answers."""

    def __init__(self, source: Source, own: SourceSettings) -> None:
        self.source = source
        self.own = own

    @abstractmethod
    def request(self, fetch: FetchRequest, cursor: str | None, now: datetime) -> HttpRequest:
        """Build the request for the page at ``cursor`` (None: the first, newest one)."""

    @abstractmethod
    def parse(self, response: RawResponse) -> Page:
        """Read an answer. Pure: looks at no clock and at nothing but ``response``.

        Raises:
          UpstreamError: the one that the answer means, when it is no page of items.
        """

    def auth(self) -> httpx2.Auth | None:
        """How requests are signed; None for an upstream that needs no credentials."""
        return None
