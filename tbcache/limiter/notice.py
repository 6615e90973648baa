"""What is told to all processes at once, on a channel (notice.lua)."""

from __future__ import annotations

import math
from collections.abc import Callable

import redis
from redis.client import PubSub
from redis.exceptions import NoPermissionError

import tbcache.io as io
from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger
from tbcache.store import Store, Unavailable

log = get_logger("tbcache.store")

#: A process without the right to the channel asks for it again after so long.
DEAF_SECONDS = 60.0


class Notices:
    """Listens to the channel in ``thread``, over a connection of its own."""

    def __init__(self, store: Store, thread: BackgroundThread) -> None:
        self._store, self._thread = store, thread
        self._messages: PubSub | None = None
        self._deaf_until = -math.inf

    def listen(self, until: float, on_message: Callable[[bytes], object]) -> None:
        """Call ``on_message`` with what is told, until a moment (monotonic) or the end of the thread."""
        try:
            if io.now() < self._deaf_until:
                self._thread.pause(until - io.now())
                return
            if self._messages is None:
                self._messages = self._store.subscribe()
            messages = self._messages
            while (left := until - io.now()) > 0 and not self._thread.is_stopping:
                message = messages.get_message(timeout=left)
                if message is not None:
                    on_message(message["data"])
        except (Unavailable, redis.RedisError, OSError) as error:
            self.close()
            if isinstance(error, NoPermissionError):
                self._on_denied()
            self._thread.pause(until - io.now())
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Give up the connection; the next :meth:`listen` opens another one."""
        messages, self._messages = self._messages, None
        if messages is not None:
            messages.close()

    def _on_denied(self) -> None:
        """Our user has no right to the channel: what is told there we learn with the next beat."""
        if self._deaf_until == -math.inf:
            log.warning("redis.channel_denied", channel=self._store.keys.notices)
        self._deaf_until = io.now() + DEAF_SECONDS
