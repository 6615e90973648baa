"""The lines of the audit that one operator leaves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tbcache.fleet.audit import Audit
from tbcache.io.log import get_logger
from tbcache.models.error import TbcacheError
from tbcache.store import Store, Unavailable

log = get_logger("tbcache.fleet")


class AuditTrail:
    """Of the operator ``who``.

    Each method raises :class:`Unavailable` where Redis is away; the log has the line all the same.
    """

    def __init__(self, store: Store, who: str) -> None:
        self._audit, self._who = Audit(store), who

    def write(self, what: str, name: str, detail: str = "") -> None:
        self._audit.write(self._who, what, name, detail)

    def write_counted(self, what: str, name: str, detail: str, count: int) -> None:
        """A line with a count, where something has changed."""
        if count:
            self._audit.write(self._who, what, name, detail, count)

    @contextmanager
    def in_parts(
        self, what: str, name: str, where: str, tell: Callable[[int], object], why: str = ""
    ) -> Iterator[Callable[[int], None]]:
        """Meanwhile something is done in parts, and then the audit has how many. Where it breaks off after
        some of them, by Ctrl-C too, the log has that as well, and so have the words of an error of ours."""
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            tell(more)

        try:
            yield count
        except BaseException as error:
            if done:
                reason = str(error) or type(error).__name__
                log.warning("order.broke_off", what=what, source=name, count=done, reason=reason)
                with contextlib.suppress(Unavailable):
                    self.write_counted(what, name, f"{where} (it broke off)".lstrip(), done)
            if done and isinstance(error, TbcacheError):
                error.args = (
                    f"It broke off after {done:,}, which are done; ask again for the rest. {error}",
                )
            raise
        self.write_counted(what, name, because(where, why), done)


def because(what: str, why: str) -> str:
    """``what``, and why where that is said."""
    return ": ".join(filter(None, (what, why)))
