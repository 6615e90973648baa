"""What becomes of the order of a source or a queue where an operator says another."""

from __future__ import annotations

from dataclasses import dataclass

from tbcache.fleet.audit import AuditLine
from tbcache.models.shape import Shape
from tbcache.store.order import Order, What


@dataclass(frozen=True, slots=True)
class OrderGiven(Shape):
    """What holds of a source or a queue once an operator has said something."""

    name: str
    order: What | None
    """What holds from now on; null: it goes on."""
    before: Order | None
    """What was said until then. If it is the same, it stands, with who, why and since when."""
    is_done: bool = True
    """False: what is paused stays so where a drain is said."""
    others: tuple[AuditLine, ...] = ()
    """Where it goes on: who had paused or drained it as well, as the audit has it."""

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
