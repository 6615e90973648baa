"""Recordings of a source, made within its limits and budget: see ``tbcache record``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tbcache.fetch.exchange import Exchange, listen
from tbcache.fetch.page import parse_page
from tbcache.io import run
from tbcache.models import FetchRequest, Page
from tbcache.models.error import ConfigurationError, UpstreamError
from tbcache.models.request import Stretch
from tbcache.models.secret import SecretStr
from tbcache.providers.base import Provider
from tbcache.providers.recording import Recording, folder_of, names, written
from tbcache.providers.strip import Strip
from tbcache.settings import SourceSettings, variable


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recording asks for: at most ``pages`` of the hours, and one of what is new since then."""

    provider: Provider
    request: FetchRequest
    pages: int
    folder: Path

    @property
    def files(self) -> tuple[Path, ...]:
        where = folder_of(self.folder, self.request.source)
        return tuple(where / name for name in names(self.request.symbol, self.pages + 1))

    def __str__(self) -> str:
        source = self.provider.source
        limits, cost = ",".join(map(str, source.limits)), source.price.per_page * (self.pages + 1)
        money = f", which cost ${cost:.2f} at most" if cost else ""
        return f"{source.name}: makes at most {self.pages + 1} requests, within {limits}{money}"

    def check(self) -> None:
        """
        Raises:
          ConfigurationError: the source is off, or a file would be written over.
        """
        self.provider.source.require()
        there = sorted(folder_of(self.folder, self.request.source).glob(f"{self.request.symbol}-*.json"))
        if there:
            raise ConfigurationError(
                f"{there[0]} is there already, and is not written over: remove it, or say another --out"
            )


def make(plan: Plan, patience: float) -> tuple[Path, ...]:
    """Make the recordings of ``plan``; the files that were written.

    Raises:
      RateLimited: no slot within ``patience`` seconds. BudgetExhausted: no money left today.
      UpstreamError: the upstream's refusal; what it answered is written all the same.
      ConfigurationError: see :meth:`Plan.check`; or a credential cannot be taken out, and nothing is written.
    """
    plan.check()
    exchanges: list[Exchange] = []
    with _kept(plan, exchanges):
        _ask(plan, None, plan.pages, patience, exchanges)
        if (news := _news(plan.provider, exchanges)) is not None:
            _ask(plan, news, 1, patience, exchanges)
    return plan.files[: len(exchanges)]


@contextmanager
def _kept(plan: Plan, exchanges: Sequence[Exchange]) -> Iterator[None]:
    """Write what was exchanged, however the block ends."""
    try:
        yield
    finally:
        strip = Strip(_secrets(plan.provider.source.name, plan.provider.settings))
        texts = [
            strip.check(written(_stripped(plan.provider, path.name, exchange, strip)))
            for path, exchange in zip(plan.files, exchanges, strict=False)
        ]
        for path, text in zip(plan.files, texts, strict=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(text)


def _ask(plan: Plan, stretch: Stretch | None, pages: int, patience: float, exchanges: list[Exchange]) -> None:
    provider = plan.provider
    run(listen(provider.pipeline, provider, plan.request, stretch, pages, patience, exchanges))


def _news(provider: Provider, exchanges: Sequence[Exchange]) -> Stretch | None:
    """What came after the item in the middle of the first page, as if that were the last that is known."""
    page = _page(provider, exchanges[0]) if exchanges else None
    dated = (
        sorted((item.at, item.id) for item in page.items if item.at is not None) if page is not None else []
    )
    if not dated:
        return None
    since, since_id = dated[len(dated) // 2]
    return Stretch(since, since_id=since_id)


def _page(provider: Provider, exchange: Exchange) -> Page | None:
    try:
        return parse_page(provider.source.name, provider.parse, exchange.response)
    except UpstreamError:
        return None


def _stripped(provider: Provider, name: str, exchange: Exchange, strip: Strip) -> Recording:
    page = _page(provider, exchange)
    following = page.next if page is not None else None
    kept = [cursor for cursor in (exchange.cursor, following) if cursor is not None]
    response = strip.response(exchange.response, kept)
    bare = exchange._replace(response=response)
    read = _page(provider, bare)
    return Recording(
        name,
        response,
        strip.request(exchange.request, kept),
        replace(exchange.fetch, others=()),
        exchange.since,
        exchange.cursor,
        None if read is None else tuple(item.id for item in read.items),
    )


def _secrets(source: str, settings: SourceSettings) -> dict[str, str]:
    """The credentials that are set, by their variables."""
    return {
        variable(source, field): value.get_secret_value().strip()
        for field, value in vars(settings).items()
        if isinstance(value, SecretStr)
    }
