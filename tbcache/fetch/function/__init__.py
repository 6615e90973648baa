"""Lets any function fetch from a source: cached, loaded once for the fleet, and within the limits."""

from tbcache.fetch.function.fetcher import AsyncFetcher, Fetcher
from tbcache.fetch.function.function_source import FunctionSource, source
from tbcache.fetch.function.outcome import FetcherOutcome

__all__ = ["AsyncFetcher", "Fetcher", "FetcherOutcome", "FunctionSource", "source"]
