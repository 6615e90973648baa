"""What several paths are asked with.

What a name or a symbol may be is documented here, and checked where it is used: the refusal is the same line
then as on the command line.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AwareDatetime, BeforeValidator, Field

_TICKER = {"pattern": r"^\$?[A-Za-z0-9][A-Za-z0-9.\-]{0,14}$", "examples": ["AAPL"]}
#: In whose name something is asked.
CALLER = {
    "pattern": r"^[A-Za-z0-9._@\-]+(/[A-Za-z0-9._@\-]+)*$",
    "maxLength": 64,
    "examples": ["desk/bot-1"],
}
#: Who does something: bytes that are no ASCII are UTF-8.
OPERATOR = {"pattern": r"^[!-~]+$", "maxLength": 64, "examples": ["ada"]}

Name = Annotated[str, Path(description="A source, or a queue.", max_length=64, examples=["twitter"])]
Source = Annotated[str, Path(description="A source.", max_length=64, examples=["twitter"])]
SymbolPath = Annotated[str, Path(description="A ticker.", max_length=64, json_schema_extra=_TICKER)]
Symbol = Annotated[str, Field(max_length=64, json_schema_extra=_TICKER)]
JobId = Annotated[str, Path(description="The id of a job.", max_length=200)]
#: A part of what is looked for, in a query. An empty one is a variable without a value: it would mean all.
Part = Annotated[str | None, Query(max_length=200, min_length=1)]
AnyName = Annotated[
    str | None, Query(max_length=64, min_length=1, description="A source or a queue; all sources.")
]
Most = Annotated[int, Query(ge=1, le=1000, description="So many a page.")]


def behind(pattern: str, most: int) -> Any:
    """Where a page of a list begins, in at most so many characters."""
    said = "As `Link` has it."
    return Query(max_length=most, description=said, json_schema_extra={"pattern": pattern})


def _not_a_number(value: object) -> object:
    if not isinstance(value, str) or re.fullmatch(r"\s*[-+]?[\d_.]+\s*", value):
        raise ValueError("it should be a moment with its zone, like 2026-11-26T14:30:00Z")
    return value


#: RFC 3339: a number might be seconds, or milliseconds.
Moment = Annotated[AwareDatetime, BeforeValidator(_not_a_number)]
#: In a body: what came later is not meant.
Until = Annotated[
    Moment,
    Field(strict=False, description="As a dry run has replied it: what has come since is left alone."),
]
