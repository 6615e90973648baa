"""What a function holds of the call that made it."""

from __future__ import annotations

from types import CodeType
from typing import Any

#: It stands for a name that is not bound yet, as the function's own name is while it is being decorated.
_UNBOUND = object()


def is_twin(one: object, other: object) -> bool:
    """True for functions of the same code that calls of one factory have made around different values."""
    return _code(one) is not None and _code(one) is _code(other) and not _is_alike(one, other, set())


def _is_alike(one: object, other: object, met: set[tuple[int, int]]) -> bool:
    pair = id(one), id(other)
    if one is other or _UNBOUND is one or _UNBOUND is other or pair in met:
        return True
    if _code(one) is None or _code(one) is not _code(other):
        return _is_equal(one, other)
    # Functions hold each other, and themselves.
    met.add(pair)
    return all(_is_alike(mine, theirs, met) for mine, theirs in zip(_held(one), _held(other), strict=True))


def _is_equal(one: object, other: object) -> bool:
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # as of two arrays
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
