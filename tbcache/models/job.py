"""A queued job: in which state it can be, and which errors put it off."""

from __future__ import annotations

from typing import Literal

from tbcache.models.error import RateLimited, UpstreamError

#: running: a worker has it. waiting: in a lane, for a thread and for its limit. delayed: put off until it is
#: due. follows: it comes after a running job of the same fetch.
JobState = Literal["running", "waiting", "delayed", "follows"]


def comes_again(error: BaseException, *, is_awaited: bool) -> bool:
    """Whether a job that met ``error`` is put off: by a limit until there is a slot, by what may pass for
    another try. ``is_awaited``: it is no pre-warm, which comes again by itself."""
    if isinstance(error, RateLimited):
        return True
    return isinstance(error, UpstreamError) and error.transient and is_awaited
