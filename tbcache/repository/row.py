"""The rows of an answer of the database; one that is damaged costs none of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import CursorResult, Row

from tbcache.io.log import get_logger
from tbcache.models.untrusted import NotJson, printable

log = get_logger("tbcache.repository")

T = TypeVar("T")

#: What a value of another kind ends in, in SQLAlchemy's own types as well: SQLite keeps any in any column.
_DAMAGED = (ValueError, TypeError, ArithmeticError, NotJson, msgspec.ValidationError)


def sound_rows(result: CursorResult[Any], make: Callable[[Row[Any]], T]) -> list[T]:
    """What ``make`` makes of each row. One that cannot be read is left out, and a line in the log says so."""
    made, damaged, why = [], 0, ""
    while True:
        try:
            # One by one: SQLAlchemy reads the values of a row as it fetches it.
            row = result.fetchone()
            if row is None:
                break
            made.append(make(row))
        except _DAMAGED as error:
            damaged, why = damaged + 1, why or str(error)
    if damaged:
        log.warning("row.damaged", count=damaged, reason=printable(why, 200))
    return made
