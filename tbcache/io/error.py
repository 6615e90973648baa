"""What a driver raises of its own, in the terms of redis-py."""

from __future__ import annotations

import redis


class Unsent(redis.ConnectionError):
    """There was no connection: nothing was sent."""
