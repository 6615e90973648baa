"""How a process becomes known to the fleet as one that takes slots of a source."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable

from tbcache.io.fork import renew_in_child
from tbcache.models.error import InvalidRequest
from tbcache.monitoring import UsageMonitor, get_usage_monitor
from tbcache.settings import get_settings, source_names
from tbcache.store import Unavailable
from tbcache.store.name import MOST_NAMES

#: So often (seconds) the fleet is told that a source is in use, and threads that have stopped are started
#: again.
REGISTER_SECONDS = 10.0


class Registration:
    """Calls ``register``, which makes this process known to the fleet, every few seconds of use, and at the
    first use after it has left by ``monitor``.

    The callable may ask Redis and block, so a caller in an event loop runs it in a thread: only when it is
    due.
    """

    def __init__(
        self, register: Callable[[], None] = lambda: None, monitor: UsageMonitor | None = None
    ) -> None:
        self._register, self._monitor = register, monitor
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Be unknown to the fleet: at the start, and in a forked child, which is another process."""
        self._registered_at = -math.inf

    @property
    def is_due(self) -> bool:
        """False while the fleet knows this process."""
        if self._monitor is not None and self._registered_at <= self._monitor.left_at:
            return True
        return time.monotonic() - self._registered_at >= REGISTER_SECONDS

    def __call__(self) -> None:
        began = time.monotonic()
        self._register()
        # One that leaves meanwhile is known no more.
        self._registered_at = began


def registering(source: str) -> Registration:
    """What makes this process known to the fleet as one that takes slots of ``source``, a name.

    Raises:
      InvalidRequest: this process has used too many names. It raises it when called where the fleet has.
    """
    monitor, is_configured = get_usage_monitor(), source in source_names(get_settings())
    if not is_configured and not monitor.names.register(source):
        raise too_many(source)

    def register() -> None:
        monitor.keep_beating("client")
        # While Redis is away, no view can show the name or its figures, so nothing is lost by leaving it out.
        with contextlib.suppress(Unavailable):
            if not is_configured and not monitor.names.tell(source):
                raise too_many(source)
            # This is done now and not with the next beat, because the figures of the last minutes are
            # differences: what was counted before the first mark would appear in none of them.
            monitor.mark_minute(source)

    return Registration(register, monitor)


def too_many(source: str) -> InvalidRequest:
    """The error for ``source``, a name for which there is no room left."""
    return InvalidRequest(
        f"{source!r} is one name too many: beside the configured sources there may be {MOST_NAMES} within a "
        "day. Name the upstream, not what it is asked for"
    )
