"""What the user of Redis may not do any more, as a script has found out that was refused half-way.

The server is there, and whatever is asked of it next has Redis hear of this process, which then counts what
leaves the window as taken by others. So to try again and again whether it can be used would leave the process
nothing. It tries anew once the rights are other ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tbcache.store.fault import is_denied
from tbcache.store.script import Script


class Denied:
    """The rights that are missing."""

    def __init__(self) -> None:
        #: What the script runs that was refused for want of a right; nothing where the server went away for
        #: another reason.
        self.commands: tuple[str, ...] = ()
        self._found: frozenset[str] = frozenset()

    def lost(self, error: Exception, script: Script[Any, Any] | None) -> None:
        """Record why the server cannot be used from now on."""
        self.commands = tuple(sorted(script.commands)) if script is not None and is_denied(error) else ()

    def is_as_before(self, found: Iterable[str]) -> bool:
        """True where these are missing of :attr:`commands`, as they were when that was last asked."""
        before, self._found = self._found, frozenset(found)
        return bool(self._found) and self._found == before
