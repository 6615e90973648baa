"""Whether what was read is sure, though the monitor stands in for Redis while that is away."""

from __future__ import annotations

from typing import TypeVar

from tbcache.store import Store, Unavailable

T = TypeVar("T")


def sure(store: Store, found: T) -> T:
    """``found``, unless Redis went away as it was read: then it is a stand-in.

    Raises:
      Unavailable: it did.
    """
    if not store.is_available:
        # Says why, unless it is time to ask again.
        store.check()
        raise Unavailable(store.address, "it went away")
    return found
