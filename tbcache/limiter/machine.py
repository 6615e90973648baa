"""This process among those of its machine: what they see of it while Redis is away (marker.py)."""

from __future__ import annotations

import functools
import os
import re
import socket
import sys
import uuid
from pathlib import Path

import tbcache.io as io
from tbcache.io.boundary import boundary
from tbcache.limiter.marker import Marker, is_alive, pid_of
from tbcache.store import Store

#: The number space of process ids, and what is another one after each start of the machine (Linux).
_PID_SPACE, _BOOT_ID = Path("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id")
#: The names of one machine for itself, in an address.
_LOOPBACK = re.compile(r"//(127(\.\d+){3}|\[::1\])(?=[:/]|$)")


class Machine:
    """The marker of this process, and what it says."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.renew()

    def renew(self) -> None:
        """Be a process of another name, which has said nothing yet: at the start, and after a fork."""
        self.member = f"{_machine()}-{os.getpid()}.{io.random_id(4)}"
        self.marker = self.marker_of(self.member)
        #: True once the others of the machine were told that Redis knows of all that was sent.
        self.is_marked = False
        #: True once they were told that it may not.
        self.is_marked_fallback = False

    def marker_of(self, member: str) -> Marker:
        """The marker of another process with the same Redis and namespace."""
        address = _LOOPBACK.sub("//localhost", self._store.address)
        return Marker(f"{address} {self._store.keys.namespace}", member)

    def stay_clean(self) -> None:
        """Say that Redis knows of all that was sent."""
        self.marker.set_clean()
        self.is_marked, self.is_marked_fallback = True, False

    def fall_back(self) -> bool:
        """Say that this process may send what Redis does not know; False when it must not."""
        # Where no Redis is configured, nobody shares anything.
        if self._store.is_shared and not self.is_marked_fallback:
            self.is_marked_fallback = self.marker.set_fallback()
        return self.is_marked_fallback or not self._store.is_shared

    def leave(self, *, has_sent: bool) -> None:
        """This process is over, and sends nothing any more."""
        if has_sent:
            self.marker.set_over()
        else:
            self.marker.remove()

    def is_dead(self, member: str) -> bool:
        """True when ``member`` was a process of this machine and is no more."""
        machine, ours = member.rpartition("-")[0], self.member.rpartition("-")[0]
        pid = pid_of(member)
        if machine == ours:
            return pid is not None and not is_alive(pid)
        # The process is from before this machine was started, or of another machine of the same name, whose
        # marker is not here.
        return _place(machine) == _place(ours) and self.marker_of(member).is_left


@boundary("machine_name")
@functools.cache
def _machine() -> str:
    """The name of the space in which a process id means one process: host, container, and last start.

    The host's name does not do: machines that were made from one image have the same.
    """
    return re.sub(r"[^A-Za-z0-9_.]", "_", f"{socket.gethostname()[:48]}.{_space()}")


def _space() -> str:
    try:
        return f"{_PID_SPACE.stat().st_ino}.{_BOOT_ID.read_text('ascii')[:8]}"
    except OSError:
        # Where neither can be read, each process has a space of its own: it cannot be found dead, and Redis
        # forgets it in the end.
        return f"0.{io.random_id(4) if sys.platform == 'linux' else uuid.getnode()}"


def _place(machine: str) -> str:
    """The host and the container, whenever they were started."""
    return machine.rpartition(".")[0]
