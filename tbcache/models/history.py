"""Answers of the past, one a moment, and the moments of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, overload

from tbcache.models.answer import SymbolSentiment
from tbcache.models.error import ConfigurationError, InvalidRequest
from tbcache.models.untrusted import quoted

#: More moments than these are no history but a mistake in its dates.
MOST_POINTS = 100_000
#: Two moments of a history are so far apart, at least.
SHORTEST = timedelta(seconds=1)
#: A hundred years.
_MOST_SECONDS = 3.2e9
#: A machine's clock may be so much ahead of that of the server.
_CLOCKS_DIFFER = timedelta(minutes=1)
_FIRST_YEAR, _LAST_YEAR = 1971, 9000


class Point(NamedTuple):
    """A moment, and what would have been answered then; None where nothing was known."""

    at: datetime
    sentiment: SymbolSentiment | None


@dataclass(frozen=True, slots=True)
class History(Sequence[Point]):
    """The answers over ``hours`` of one symbol in one source, one a moment, the oldest first.

    ``reason`` is why nothing was known at any of its moments; None where something was.
    """

    source: str
    symbol: str
    hours: int
    points: tuple[Point, ...]
    reason: str | None = None

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    @overload
    def __getitem__(self, index: int) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Point]: ...
    def __getitem__(self, index: int | slice) -> Point | Sequence[Point]:
        return self.points[index]

    def rows(self) -> list[dict[str, Any]]:
        """One row a point, of plain figures alone; those of a moment at which nothing was known are None."""
        return [_row(point) for point in self.points]

    def frame(self) -> Any:
        """:meth:`rows` as a DataFrame of pandas, or of polars where that is not installed.

        Where nothing was known, figures are NaN in pandas and null in polars: a column can be reckoned with
        even where none of it was known.

        Raises:
          ConfigurationError: neither is.
        """
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for row in self.rows():
            for name, value in row.items():
                columns[name].append(value)
        name, frames = _frames()
        return _pandas(frames, columns) if name == "pandas" else _polars(frames, columns)


def _pandas(frames: Any, columns: dict[str, list[Any]]) -> Any:
    nan = float("nan")
    numbers = {name: [nan if value is None else value for value in columns[name]] for name in _NUMBERS}
    moments = {name: frames.to_datetime(columns[name], utc=True) for name in _MOMENTS}
    return frames.DataFrame({**columns, **numbers, **moments})


def _polars(frames: Any, columns: dict[str, list[Any]]) -> Any:
    types = {name: frames.Int64 if name in _COUNTS else frames.Float64 for name in _NUMBERS}
    moments = dict.fromkeys(_MOMENTS, frames.Datetime("us", "UTC"))
    rest = {"complete": frames.Boolean, "scorer": frames.String}
    return frames.DataFrame(columns, schema_overrides={**types, **moments, **rest})


#: What a row has: the moment, and these figures of the answer. ``change`` are those of the volume.
_FIGURES = (
    "as_of",
    "score",
    "standard_error",
    "confidence",
    "covered_hours",
    "complete",
    "count",
    "voices",
    "authors",
    "bullish",
    "bearish",
    "neutral",
    "opinion",
    "labelled",
    "scorer",
)
COLUMNS = ("at", *_FIGURES, "change", "baseline_change")
_MOMENTS = ("at", "as_of")
_COUNTS = ("count", "authors", "bullish", "bearish", "neutral")
_NUMBERS = tuple(name for name in COLUMNS if name not in (*_MOMENTS, "complete", "scorer"))


def _row(point: Point) -> dict[str, Any]:
    found = point.sentiment
    figures = {name: None if found is None else getattr(found, name) for name in _FIGURES}
    volume = (None, None) if found is None else (found.volume.change, found.volume.baseline_change)
    return dict(zip(COLUMNS, (point.at, *figures.values(), *volume), strict=True))


def _frames() -> tuple[str, Any]:
    for name in ("pandas", "polars"):
        try:
            return name, importlib.import_module(name)
        except ImportError:
            continue
    raise ConfigurationError(
        "a frame needs pandas or polars, and neither is installed: `pip install pandas`, or take .rows()"
    )


def moments(start: datetime, end: datetime, every: float | timedelta) -> list[datetime]:
    """The moments from ``start`` to ``end``, both included where they fit, ``every`` so many seconds.

    Raises:
      InvalidRequest: a time has no zone, the end is before the start, ``every`` is no duration, or there are
        too many.
    """
    step, first, last = _step(every), aware("start", start), aware("end", end)
    if step < SHORTEST:
        raise InvalidRequest(f"every {quoted(every)} should be a second or more")
    if last < first:
        raise InvalidRequest(
            f"end {last:%Y-%m-%d %H:%M:%S} UTC lies before start {first:%Y-%m-%d %H:%M:%S} UTC"
        )
    count = (last - first) // step + 1
    if count > MOST_POINTS:
        raise InvalidRequest(f"a history of {count} moments: at most {MOST_POINTS} are answered at once")
    return [first + n * step for n in range(count)]


def _step(every: object) -> timedelta:
    if isinstance(every, timedelta):
        return every
    if not isinstance(every, int | float) or isinstance(every, bool) or not abs(every) <= _MOST_SECONDS:
        raise InvalidRequest(f"every {quoted(every)} should be seconds, like 3600, or a timedelta")
    return timedelta(seconds=every)


def past(name: str, moment: datetime, now: datetime) -> datetime:
    """``moment``, the argument ``name``, in UTC, which was before ``now``.

    Raises:
      InvalidRequest: it is none of those that :func:`aware` takes, or is still to come.
    """
    found = aware(name, moment)
    if found > now + _CLOCKS_DIFFER:
        said = f"{found:%Y-%m-%d %H:%M:%S} UTC"
        raise InvalidRequest(f"{name} {said} is still to come: it is {now:%Y-%m-%d %H:%M:%S} UTC now")
    return found


def aware(name: str, moment: datetime) -> datetime:
    """``moment``, the argument ``name``, in UTC.

    Raises:
      InvalidRequest: it has no zone, or is of a time of which nothing can be known.
    """
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidRequest(f"{name} {moment!r} needs a zone, like datetime(2026, 7, 28, 12, tzinfo=UTC)")
    # The first and last years that hours can be added to, in any zone.
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise InvalidRequest(f"{name} {moment} must be of the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return moment.astimezone(UTC)
