"""A source that is checked, its recordings, and what a rule tells of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

from tbcache.fetch.page import parse_page
from tbcache.io.description import described
from tbcache.models import FetchRequest, HttpRequest, Page, RawResponse
from tbcache.models.error import UpstreamError, UpstreamPayloadError
from tbcache.models.secret import SecretStr
from tbcache.providers.base import Provider
from tbcache.providers.recording import Recording
from tbcache.settings import SourceSettings

#: A credential of the check's own, in the place of each that is set.
_PLANTED = "planted-credential-"
Level = Literal["wrong", "not shown"]


class Finding(NamedTuple):
    """What a rule found, in which recording (none: in what it made up), and what would be right.
    ``also`` are the other recordings in which it found the same kind of mistake.
    """

    recording: str
    what: str
    right: str
    level: Level = "wrong"
    rule: str = ""
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" in {self.recording}" if self.recording else ""
        others = self.also[0] if len(self.also) == 1 else f"{len(self.also)} others"
        more = f" (and in {others})" if self.also else ""
        return f"{self.rule}{where}: {self.what}{more}; {self.right}"


class ReadPage(NamedTuple):
    """A recording of a success, and the page that it is."""

    recording: Recording
    page: Page

    @property
    def name(self) -> str:
        return self.recording.name

    @property
    def times(self) -> list[datetime]:
        return [item.at for item in self.page.items if item.at is not None and item.at.tzinfo is not None]


class Checked:
    """A source with credentials that the check made up, and what it makes of its recordings."""

    def __init__(self, provider: Provider, recordings: Sequence[Recording]) -> None:
        self.planted = {name: f"{_PLANTED}{name}" for name in _secret_fields()}
        secrets: dict[str, Any] = {name: SecretStr(value) for name, value in self.planted.items()}
        settings = replace(provider.settings, **secrets)
        self.provider = type(provider)(provider.source, settings)
        self.source = provider.source
        self.recordings = recordings

    def parse(self, response: RawResponse) -> Page:
        """
        Raises:
          UpstreamError: what the answer means, or that it cannot be read, whatever the parser raises then.
        """
        try:
            return self.parse_as_it_is(response)
        except UpstreamError:
            raise
        except Exception as error:
            why = f"parse() raised {described(error)}"
            raise UpstreamPayloadError(self.source.name, why[:200], status=response.status) from error

    def parse_as_it_is(self, response: RawResponse) -> Page:
        """:meth:`parse`, as a worker does it: what else a parser raises is a bug, and comes through."""
        return parse_page(self.source.name, self.provider.parse, response)

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        return self.provider.request(fetch, cursor, since)

    @cached_property
    def read(self) -> tuple[ReadPage, ...]:
        """The recordings that are pages."""
        found = []
        for recording in self.recordings:
            try:
                found.append(ReadPage(recording, self.parse(recording.response)))
            except UpstreamError:
                continue
        return tuple(found)

    @property
    def asked(self) -> Iterator[tuple[ReadPage, FetchRequest, datetime]]:
        """Those of which it is known what they were asked for with."""
        for read in self.read:
            if read.recording.fetch is not None and read.recording.since is not None:
                yield read, read.recording.fetch, read.recording.since

    @property
    def sample(self) -> ReadPage | None:
        """A page with items, the first."""
        return next((read for read in self.read if read.page.items), None)


def _secret_fields() -> list[str]:
    hints = get_type_hints(SourceSettings)
    return [name for name, kind in hints.items() if SecretStr in (kind, *get_args(kind))]


#: Looks at a source and its recordings, and tells what is wrong.
Rule = Callable[[Checked], Iterator[Finding]]
