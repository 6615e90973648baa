"""This process among those of its machine: what they see of it while Redis is away (marker.py)."""

from __future__ import annotations

import functools
import os
import re
import socket
from pathlib import Path

import tbcache.io as io
from tbcache.limiter.marker import Marker
from tbcache.store import Store

#: The names of one machine for itself, in an address.
_LOOPBACK = re.compile(r"//(127(\.\d+){3}|\[::1\])(?=[:/]|$)")


class Machine:
    """The marker of this process, and what it says."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.renew()

    def renew(self) -> None:
        """As new: a process of another name, which has said nothing yet. Also after a fork."""
        self.member = f"{_machine()}-{os.getpid()}.{io.token(4)}"
        self.marker = self.marker_of(self.member)
        #: True once the others of the machine were told that Redis knows of all that was sent.
        self.is_marked = False
        #: True once they were told that it may not.
        self.is_marked_alone = False

    def marker_of(self, member: str) -> Marker:
        """The marker of another process with the same Redis and namespace."""
        address = _LOOPBACK.sub("//localhost", self._store.address)
        return Marker(f"{address} {self._store.keys.namespace}", member)

    def stay_clean(self) -> None:
        """Say that Redis knows of all that was sent."""
        self.marker.set_clean()
        self.is_marked, self.is_marked_alone = True, False

    def go_alone(self) -> bool:
        """Say that this process may send what Redis does not know; False when it must not."""
        # Where no Redis is configured, nobody shares anything.
        if self._store.is_shared and not self.is_marked_alone:
            self.is_marked_alone = self.marker.set_alone()
        return self.is_marked_alone or not self._store.is_shared

    def leave(self, *, has_sent: bool) -> None:
        """This process is over, and sends nothing any more."""
        if has_sent:
            self.marker.set_over()
        else:
            self.marker.remove()


@functools.cache
def _machine() -> str:
    """Where process ids mean the same: the host, and in it the container."""
    try:
        space = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        space = 0
    return re.sub(r"[^A-Za-z0-9_.]", "_", f"{socket.gethostname()[:48]}.{space}")
