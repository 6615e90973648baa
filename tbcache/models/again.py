"""Which errors end a job of the queue, and with which it comes again."""

from __future__ import annotations

from tbcache.models.error import RateLimited, UpstreamError


def comes_again(error: BaseException, *, is_awaited: bool) -> bool:
    """Whether a job that met ``error`` is put off: by a limit until there is a slot, by what may pass for
    another try. ``is_awaited``: it is no pre-warm, which comes again by itself."""
    if isinstance(error, RateLimited):
        return True
    return isinstance(error, UpstreamError) and error.transient and is_awaited
