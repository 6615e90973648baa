"""Any function as what fetches from a source: cached, loaded once for the fleet, inside the limits."""

from tbcache.fetcher.function import AsyncFetcher, Fetcher
from tbcache.fetcher.function_source import FunctionSource, source
from tbcache.fetcher.outcome import FetcherOutcome

__all__ = ["AsyncFetcher", "Fetcher", "FetcherOutcome", "FunctionSource", "source"]
