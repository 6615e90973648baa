"""What is wanted of jobs, from whoever asks for them to their messages and enqueue.lua."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, TypedDict

from dramatiq.middleware import CurrentMessage

from tbcache.models import Lane
from tbcache.queue.account import Account


class JobOptions(TypedDict, total=False):
    """What a fetch may be asked for with, beside its lane.

    The job is put off by ``delay_seconds``. The answer must be fresh for ``needed`` seconds more, and its
    load must have begun after the moment ``fresh_after``: where a job of the same fetch runs that began
    before it, one more runs after that.

    ``caller`` is in whose name it is fetched; the thread's, or the process's own, where it is None. ``token``
    is that of a leader, whose jobs are refused once another leads (fence.py). A pre-warm that has waited for
    more than ``valid_seconds`` after its delay is not run (0: it always is).
    """

    delay_seconds: float
    needed: float
    fresh_after: datetime | None
    caller: str | None
    token: int
    valid_seconds: float


class Wants(NamedTuple):
    """What the asks of one call have in common. The answer must be fresh for ``needed`` seconds more, and its
    load have begun after the moment ``after`` (s since 1970, by the server's clock; 0: whenever it did).
    ``charge`` is the source's. ``is_follow_up``: a job that runs sends them, as part of what was accepted.
    ``is_requeued``: they are dead letters, by the same ids. ``token`` is that of a leader who asks, 0 for
    anybody else. After ``valid_until`` (as ``after``; 0: never) a pre-warm is not run any more.
    ``is_new`` is that of an :class:`tbcache.admission.Ask`: these count as asked for.
    """

    account: Account
    lane: Lane = "interactive"
    delay_seconds: float = 0.0
    needed: float = 0.0
    after: float = 0.0
    charge: str = "fetch"
    is_follow_up: bool = False
    is_requeued: bool = False
    token: int = 0
    valid_until: float = 0.0
    is_new: bool = False


def is_follow_up() -> bool:
    """Whether a job that runs asks, as it does for the next one of a pipeline: that was accepted with it."""
    return CurrentMessage.get_current_message() is not None
