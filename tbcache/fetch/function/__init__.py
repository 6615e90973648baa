"""Lets any function fetch from a source: cached, loaded once for the fleet, and within the limits."""

from tbcache.fetch.function.fetcher import AsyncFetcher, Fetcher
from tbcache.fetch.function.function_source import FunctionSource, source
from tbcache.fetch.function.outcome import FetcherOutcome
from tbcache.fetch.function.queued import AsyncQueuedCall, QueuedCall

__all__ = [
    "AsyncFetcher",
    "AsyncQueuedCall",
    "Fetcher",
    "FetcherOutcome",
    "FunctionSource",
    "QueuedCall",
    "source",
]
