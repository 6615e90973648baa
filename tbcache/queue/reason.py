"""Why jobs died: which reasons there are, and how many died of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tbcache.models.shape import Shape

#: What a reason is about changes from job to job: moments, durations, ids, and the symbol after its source.
_VARIES = re.compile(r"\d+\.\d+|\b(?=[\w-]*\d)[\w-]{8,}\b")
#: So do numbers and tickers, where reasons that differ in them alone have more than so many in one place:
#: a handful, as of HTTP statuses, tells kinds of errors apart.
_MAY_VARY, MOST_TOLD_APART = re.compile(r"\d+|\b[A-Z][A-Z0-9.\-]{0,19}\b"), 8
#: So many letters of a reason tell it from others; so many different ones are told apart.
MOST_LETTERS, MOST_SHAPES = 150, 1_000
ANY = "*"


@dataclass(frozen=True, slots=True)
class DeathCount(Shape):
    """So many dead letters of a queue have that error, with `*` where reasons differ."""

    queue: str
    error: str
    """As a filter of dead letters takes it."""
    count: int


def has_reason(reason: str, error: str) -> bool:
    """Whether ``error`` is a part of ``reason``, in any case; ``*`` in it stands for any text."""
    text, place = reason.casefold(), 0
    for part in error.casefold().split(ANY):
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True


def count_reasons(queue: str, reasons: Iterable[str], most: int) -> list[DeathCount]:
    """The ``most`` frequent, the first of them first; each counts whatever :func:`has_reason` of it."""
    known = Counter(reasons)
    symbol = re.compile(rf"(?<=\b{re.escape(queue)} )[A-Z0-9.\-]{{1,20}}\b")
    shapes = Counter[str]()
    for reason, count in known.most_common():
        shape = _shape(reason, symbol)
        if shape in shapes or len(shapes) < MOST_SHAPES:
            shapes[shape] += count
    found = [
        DeathCount(queue, shape, sum(n for reason, n in known.items() if has_reason(reason, shape)))
        for shape, _ in _joined(shapes).most_common(most)
    ]
    return sorted(found, key=lambda one: -one.count)


def _shape(reason: str, symbol: re.Pattern[str]) -> str:
    return _VARIES.sub(ANY, symbol.sub(ANY, reason))[:MOST_LETTERS]


def _joined(shapes: Counter[str]) -> Counter[str]:
    """The shapes that differ in many numbers or names at one place as one, with ``*`` in that place."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for shape in shapes:
        alike.setdefault(tuple(_MAY_VARY.split(shape)), []).append(shape)
    found = Counter[str]()
    for some in alike.values():
        columns = zip(*map(_MAY_VARY.findall, some), strict=True)
        is_many = [len(set(column)) > MOST_TOLD_APART for column in columns]
        for shape in some:
            found[_starred(shape, is_many)] += shapes[shape]
    return found


def _starred(shape: str, is_many: Iterable[bool]) -> str:
    place = iter(is_many)
    return _MAY_VARY.sub(lambda word: ANY if next(place) else word[0], shape)
