"""What becomes of the order of a source or a queue where an operator says another."""

from __future__ import annotations

from dataclasses import dataclass

from tbcache.fleet.audit import AuditLine
from tbcache.store.order import Order, What


@dataclass(frozen=True, slots=True)
class OrderGiven:
    """The ``order`` that holds from now on, None where it goes on, and the one of ``before``; where that is
    the same it stands, with who, why and since when.

    ``is_done`` is False where what was said does not hold: what is paused stays so where a drain is said.
    ``others`` are those who had paused or drained it as well, where it goes on.
    """

    name: str
    order: What | None
    before: Order | None
    is_done: bool = True
    others: tuple[AuditLine, ...] = ()

    def __str__(self) -> str:
        if self.order is None:
            if self.before is None:
                return f"{self.name} was neither paused nor drained"
            also = "".join(f"; {_who_said(line)}" for line in self.others)
            return f"{self.name} goes on; it was {self.before.since_when}{also}"
        done = "is paused" if self.order == "pause" else "accepts nothing new"
        return f"{self.name} {done if self.is_done else 'stays paused'}{self._until_now}"

    @property
    def _until_now(self) -> str:
        if self.before is None:
            return ""
        if self.before.what == self.order:
            return f"; nothing is changed: it was {self.before.since_when}"
        return f"; until now it was {self.before.since_when}, which is forgotten"


def order_after(before: Order | None, what: What) -> What:
    """The order that holds where ``what`` is said: what is paused stays so where a drain is."""
    return "pause" if before is not None and before.what == "pause" else what


def _who_said(line: AuditLine) -> str:
    done = "paused" if line.what == "queue.pause" else "drained"
    why = f": {line.why}" if line.why else ""
    return f"{line.who} had {done} it as well at {line.at:%Y-%m-%d %H:%M:%S} UTC{why}"
