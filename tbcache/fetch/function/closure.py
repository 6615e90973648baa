"""Compares the values that functions close over, of functions that the same factory has made."""

from __future__ import annotations

from types import CodeType
from typing import Any

#: Stands for a name that is not bound yet, like the name of the function itself while that is being
#: decorated.
_UNBOUND = object()


def is_twin(one: object, other: object) -> bool:
    """True where two calls of one factory have made the functions, so that they have the same code, but close
    over different values.
    """
    return _code(one) is not None and _code(one) is _code(other) and not _is_alike(one, other, set())


def _is_alike(one: object, other: object, met: set[tuple[int, int]]) -> bool:
    pair = id(one), id(other)
    if one is other or _UNBOUND is one or _UNBOUND is other or pair in met:
        return True
    if _code(one) is None or _code(one) is not _code(other):
        return _is_equal(one, other)
    # Functions may close over each other, and over themselves.
    met.add(pair)
    return all(_is_alike(mine, theirs, met) for mine, theirs in zip(_held(one), _held(other), strict=True))


def _is_equal(one: object, other: object) -> bool:
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # the comparison of two arrays, for one, has no truth value
        return False


def _function(thing: Any) -> Any:
    """The function that a fetcher stands for, or ``thing`` itself."""
    return thing if hasattr(thing, "__code__") else getattr(thing, "__wrapped__", thing)


def _code(thing: object) -> CodeType | None:
    code = getattr(_function(thing), "__code__", None)
    return code if isinstance(code, CodeType) else None


def _held(function: object) -> list[object]:
    return [_content(cell) for cell in _function(function).__closure__ or ()]


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return _UNBOUND
