"""Messages of jobs, as the product makes them."""

from __future__ import annotations

from typing import Any

import dramatiq

from tbcache.io.trace import NOWHERE
from tbcache.models import FetchRequest, Lane
from tbcache.queue.account import Account
from tbcache.queue.job import encoded
from tbcache.queue.wants import Wants


def message(request: FetchRequest, lane: Lane = "interactive", after: float = 0.0) -> dramatiq.Message[Any]:
    """The message that asks a worker for ``request``, in nobody's name."""
    ((_, data),) = encoded([request], Wants(Account("", 0), lane, after=after), None, NOWHERE)
    return dramatiq.Message.decode(data)
