"""Which of many are meant, by what is said of them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tbcache.models.error import InvalidRequest


@dataclass(frozen=True, slots=True)
class Filter:
    """Those that have all of what its fields say. A field of None says nothing: without any, all are."""

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
        return all(getattr(self, field.name) is None for field in fields(self))

    def __str__(self) -> str:
        said = [f"{field.name}={getattr(self, field.name)}" for field in fields(self)]
        return " ".join(one for one in said if not one.endswith("=None"))
