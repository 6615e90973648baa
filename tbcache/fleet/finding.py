"""What a check-up finds: something is as it should be, worth knowing, or wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding ``about`` something, like ``redis`` or a source; ``fix`` is what mends it, where anything
    is to be mended.
    """

    level: Level
    about: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.fix}" if self.fix else self.what
