"""The sources: what each is allowed, what it costs, and how long its answers last."""

from tbcache.sources.source import (
    AGGREGATED_TTL,
    BUILT_IN,
    HISTORICAL_TTL,
    REAL_TIME_TTL,
    STATIC_TTL,
    Source,
    check_name,
    declare,
    get_declared,
    get_source,
    get_sources,
    is_name,
    load_class,
    source_names,
    unconfigured,
    warn_of_near_miss,
)

__all__ = [
    "AGGREGATED_TTL",
    "BUILT_IN",
    "HISTORICAL_TTL",
    "REAL_TIME_TTL",
    "STATIC_TTL",
    "Source",
    "check_name",
    "declare",
    "get_declared",
    "get_source",
    "get_sources",
    "is_name",
    "load_class",
    "source_names",
    "unconfigured",
    "warn_of_near_miss",
]
