"""Rights that the user of Redis has lost, as a script found out that was refused half-way.

The server is there, and hears of this process with each ask. Each time it hears of one that was away, that
process has to count as used what leaves its window (docs/limits.md). One that tried again and again, and was
refused each time, would never have a slot. So it tries again only once the rights of its user have changed.
"""

from __future__ import annotations

from collections.abc import Iterable

from tbcache.store.fault import denied_command


class Denied:
    """The rights that are missing."""

    def __init__(self) -> None:
        #: What was refused for want of a right, in the server's word; nothing where it went away for another
        #: reason.
        self.commands: tuple[str, ...] = ()
        self._found: frozenset[str] = frozenset()

    def lost(self, error: Exception) -> None:
        """Record why the server cannot be used from now on."""
        command = denied_command(error)
        self.commands = (command,) if command else ()

    def is_as_before(self, found: Iterable[str]) -> bool:
        """True where these are missing of :attr:`commands`, as they were when that was last asked."""
        before, self._found = self._found, frozenset(found)
        return bool(self._found) and self._found == before
