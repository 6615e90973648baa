"""Pictures, drawn on the server: a window with its slots, a line over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 240, 14
#: Where the figures over time stand on.
SPARK_BASE = 25
#: What a stretch of time is drawn as at least, on the scale of WIDTH.
LEAST_STEP = 2.0
#: So many marks are drawn of a window at most, evenly taken: beyond that they touch each other.
MOST_MARKS = 120


def window(
    slots: Sequence[datetime],
    now: datetime,
    seconds: float,
    since: datetime | None = None,
    used: int | None = None,
) -> Markup:
    """A window of ``seconds`` that ends now: a mark for each slot, by how long ago it was used. What is held
    lies at the right end, beyond the line. Of before ``since`` there are no slots here, though some of the
    ``used`` may be of then: it is hatched."""
    begin = now - timedelta(seconds=seconds)
    known = [one for one in slots if begin < one <= now]
    held = sum(one > now for one in slots)
    marks = "".join(
        _mark((one - begin).total_seconds() / seconds)
        for one in known[:: -math.ceil(len(known) / MOST_MARKS) or -1]
    )
    more = _held(held) if held else ""
    many = len(known) if since is None or used is None else used - held
    label = f"{many} slots used in the last {span(seconds)}, {held} held"
    if since is not None and since > begin:
        width = (since - begin).total_seconds() / seconds * WIDTH
        marks += f'<path class="unseen" d="M0 {HEIGHT / 2}H{width:.1f}"/>'
        label += "; the older ones are not drawn"
    return Markup(  # noqa: S704 -- nothing in it comes from outside
        f'<svg class="window" viewBox="0 0 {WIDTH + 30} {HEIGHT}" role="img" aria-label="{label}">'
        f'<rect class="track" x="0" y="2" width="{WIDTH}" height="{HEIGHT - 4}"/>{marks}{more}'
        f'<line class="now" x1="{WIDTH}" x2="{WIDTH}" y1="0" y2="{HEIGHT}"/></svg>'
    )


class Step(NamedTuple):
    """A stretch of a line over time, from one part of the picture (0..1) to another, so high on its scale."""

    begin: float
    end: float
    high: float
    #: How much of that went wrong, on the same scale.
    wrong: float = 0.0


def steps(found: Sequence[Step], label: str) -> Markup:
    """A column for each stretch, and none where nothing is known; those that meet are one line. What went
    wrong hangs from the top, so that it is told by its place as well.
    """
    top = max((max(one.high, one.wrong) for one in found), default=0) or 1
    area, end = "", -1.0
    for one in found:
        height = SPARK_BASE - (SPARK_BASE - 2) * one.high / top
        # There is no gap between stretches that meet but for how they are rounded.
        if abs(one.begin - end) >= 0.001:
            # One that is short, as the first of a fleet, is seen as well.
            begin = max(0.0, min(one.begin, one.end - LEAST_STEP / WIDTH))
            area += f"{_close(area)}M{begin * WIDTH:.1f} {SPARK_BASE}"
        area, end = f"{area}V{height:.1f}H{one.end * WIDTH:.1f}", one.end
    wrong = "".join(_wrong(one, top) for one in found if one.wrong)
    return _spark(label, f'<path d="{area}{_close(area)}"/>{wrong}')


def _close(area: str) -> str:
    return f"V{SPARK_BASE}" if area else ""


def _spark(label: str, inner: str) -> Markup:
    """``inner`` are elements of ours, with numbers alone."""
    line = f'<line class="now" x1="0" x2="{WIDTH}" y1="{SPARK_BASE}" y2="{SPARK_BASE}"/>'
    return Markup('<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH,
        SPARK_BASE + 1,
        label,
        Markup(line + inner),  # noqa: S704 -- numbers
    )


def bars(values: Sequence[float], places: int, label: str) -> Markup:
    """A bar for each value, from the left; there is room for so many."""
    top, step = max(values, default=0) or 1, WIDTH / places
    drawn = "".join(
        f'<rect class="bar" x="{place * step:.1f}" y="{SPARK_BASE - height:.1f}" '
        f'width="{step * 0.8:.1f}" height="{height:.1f}"/>'
        for place, value in enumerate(values)
        if (height := (SPARK_BASE - 1) * value / top) > 0
    )
    return _spark(label, drawn)


def _wrong(one: Step, top: float) -> str:
    width = max(1.5, (one.end - one.begin) * WIDTH)
    height = max(2.0, (SPARK_BASE - 1) * one.wrong / top)
    return f'<rect class="down" x="{one.begin * WIDTH:.1f}" y="0" width="{width:.1f}" height="{height:.1f}"/>'


def span(seconds: float) -> str:
    """A length of time in its largest whole unit, as a limit has it: 15 min."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _mark(part: float) -> str:
    x = part * (WIDTH - 2)
    return f'<rect class="slot" x="{x:.1f}" y="2" width="2" height="{HEIGHT - 4}"/>'


def _held(count: int) -> str:
    return (
        f'<rect class="held" x="{WIDTH + 3}" y="2" width="8" height="{HEIGHT - 4}"/>'
        f'<text x="{WIDTH + 14}" y="{HEIGHT - 3}">{count}</text>'
    )
