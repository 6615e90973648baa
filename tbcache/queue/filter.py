"""Which of many are meant, by what is said of them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tbcache.models.error import InvalidRequest


@dataclass(frozen=True, slots=True)
class Filter:
    """Those that have all of what its fields say. A field of None says nothing: without any, all are.

    ``until`` leaves out what came after a moment (UTC): somebody was asked about those of then.
    """

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

    @property
    def _said(self) -> dict[str, object]:
        found = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "until"}
        return {name: value for name, value in found.items() if value is not None}
