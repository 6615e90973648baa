"""One small request, to see whether an upstream takes the credentials of a source."""

from __future__ import annotations

from datetime import timedelta

from tbcache.fetch.exchange import Exchange, listen
from tbcache.fetch.page import parse_page
from tbcache.io import run, utc_now
from tbcache.models.request import Stretch
from tbcache.providers.base import Provider

#: What is asked for is so new (s) that an upstream which bills by the item has little to bill.
NEWS_SECONDS = 120.0


def probe(provider: Provider, symbol: str, patience: float) -> int:
    """Ask for the last minutes of ``symbol``, in one request within the limits and the budget; how many items
    came. No answer is made of it.

    Raises:
      RateLimited: no slot within ``patience`` seconds. BudgetExhausted: no money left today.
      UpstreamError: the upstream's refusal. ConfigurationError: the source is off.
    """
    provider.source.require()
    request, exchanges = provider.source.request(symbol, 1), list[Exchange]()
    since = Stretch(utc_now() - timedelta(seconds=NEWS_SECONDS))
    run(listen(provider.pipeline, provider, request, since, 1, patience, exchanges))
    return sum(len(parse_page(provider.source.name, provider.parse, one.response).items) for one in exchanges)
