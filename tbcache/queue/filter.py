"""Which of many are meant, by what is said of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from tbcache.models.caller import is_below
from tbcache.models.error import InvalidRequest


@dataclass(frozen=True, slots=True)
class Filter:
    """Those that have all of what its fields say. A field of None says nothing: without any, all are.

    ``symbol`` and ``caller`` in any case; a caller with all below it, as ``desk`` means ``desk/bot-1`` too.
    ``until`` leaves out what came after a moment (UTC): somebody was asked about those of then.
    """

    symbol: str | None = None
    job_id: str | None = None
    caller: str | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        """
        Raises:
          InvalidRequest: a part is empty. That is a variable without a value, and would mean all, or none.
        """
        for field in fields(self):
            if getattr(self, field.name) == "":
                raise InvalidRequest(f"the {field.name} to look for is empty: leave it out to mean all")

    @property
    def is_all(self) -> bool:
        """True where all of then are meant."""
        return not self._said

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self._said.items())

    def _is_of(self, symbol: str, caller: str) -> bool:
        """Whether a job of that symbol and caller may be meant."""
        return (self.symbol is None or symbol.casefold() == self.symbol.casefold()) and (
            self.caller is None or is_below(caller, self.caller)
        )

    @property
    def _said(self) -> dict[str, object]:
        found = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "until"}
        return {name: value for name, value in found.items() if value is not None}
