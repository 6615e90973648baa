"""Any function as what fetches from a source: cached, loaded once for the fleet, inside the limits."""

from tbcache.fetcher.function import AsyncFetcher, Fetcher
from tbcache.fetcher.outcome import FetcherOutcome
from tbcache.fetcher.source import FunctionSource, source

__all__ = ["AsyncFetcher", "Fetcher", "FetcherOutcome", "FunctionSource", "source"]
