"""What a measurement gives: a table of ratios and counts, and the bars it met or missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bar:
    """One promise: what was ``asked`` for, what was ``measured``, and whether that is enough."""

    asked: str
    measured: str
    is_met: bool

    def __str__(self) -> str:
        return f"{'MET    ' if self.is_met else 'NOT MET'}  {self.asked}: {self.measured}"


@dataclass
class Table:
    """Rows of cells under ``columns``; ``note`` says how they were measured."""

    title: str
    note: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def to_markdown(self) -> str:
        lines = [
            f"## {self.title}",
            "",
            self.note,
            "",
            *_aligned([self.columns, *self.rows]),
            "",
        ]
        return "\n".join([*lines, *(f"- {bar}" for bar in self.bars)]).rstrip() + "\n"


def _aligned(rows: list[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
