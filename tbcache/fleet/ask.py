"""What is asked of the workers: all of it is checked before the first is queued."""

from __future__ import annotations

from collections.abc import Sequence

from tbcache.models import FetchRequest
from tbcache.settings import Settings, get_source, get_sources


def fetches_of(settings: Settings, source: str, symbols: Sequence[str], hours: int) -> list[FetchRequest]:
    """A fetch of each symbol.

    Raises:
      UnknownSource: no such source. ConfigurationError: it is off. InvalidRequest: no symbol, or hours.
    """
    known = get_source(source, settings)
    requests = [known.request(symbol, hours) for symbol in symbols]
    known.require()
    return requests


def warming_of(settings: Settings, symbols: Sequence[str], source: str | None = None) -> list[FetchRequest]:
    """The fetches that warm each symbol, in one source, or in every one that is on.

    Raises:
      UnknownSource: no such source. ConfigurationError: it is off. InvalidRequest: no symbol.
    """
    if source is None:
        chosen = [one for one in get_sources(settings).values() if one.is_enabled]
    else:
        chosen = [get_source(source, settings)]
        chosen[0].require()
    hours = settings.common_hours
    return [one.request(symbol, min(hours, one.max_hours)) for symbol in symbols for one in chosen]
