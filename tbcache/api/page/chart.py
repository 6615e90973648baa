"""Larger pictures of a symbol over time, drawn on the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 480, 120
_MIDDLE, _HALF = 44, 40
_BARS_TOP = 92


class Place(NamedTuple):
    """What was known at a moment: the score (-1..1) and its error, the confidence (0..1), how many items."""

    score: float | None
    error: float | None
    confidence: float
    items: int


def course(places: Sequence[Place], label: str) -> Markup:
    """The score as a line from -1 to 1 with a band for its error, broken where nothing was known, over a bar
    for the items of each moment. A mark of the score is as large as its confidence."""
    step = WIDTH / max(1, len(places))
    xs = [(number + 0.5) * step for number in range(len(places))]
    most = max((place.items for place in places), default=0) or 1
    both, highest = list(zip(xs, places, strict=True)), HEIGHT - _BARS_TOP
    drawn = [
        f'<line class="now" x1="0" x2="{WIDTH}" y1="{_MIDDLE}" y2="{_MIDDLE}"/>',
        *(_bar(x, step, highest * place.items / most) for x, place in both),
        *(_band(x, step, place) for x, place in both),
        _line(xs, places),
        *(_mark(x, place) for x, place in both),
    ]
    picture = Markup("".join(drawn))  # noqa: S704 -- numbers
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, label, picture
    )


def _y(score: float) -> float:
    return _MIDDLE - _HALF * max(-1.0, min(1.0, score))


def _bar(x: float, step: float, height: float) -> str:
    if height <= 0:
        return ""
    return (
        f'<rect class="bar" x="{x - step * 0.4:.1f}" y="{HEIGHT - height:.1f}" width="{step * 0.8:.1f}" '
        f'height="{height:.1f}"/>'
    )


def _band(x: float, step: float, place: Place) -> str:
    if place.score is None or not place.error:
        return ""
    top, bottom = _y(place.score + place.error), _y(place.score - place.error)
    return (
        f'<rect class="band" x="{x - step / 2:.1f}" y="{top:.1f}" width="{step:.1f}" '
        f'height="{max(1.0, bottom - top):.1f}"/>'
    )


def _line(xs: Sequence[float], places: Sequence[Place]) -> str:
    path, is_drawn = "", False
    for x, place in zip(xs, places, strict=True):
        if place.score is not None:
            path += f"{'L' if is_drawn else 'M'}{x:.1f} {_y(place.score):.1f}"
        is_drawn = place.score is not None
    return f'<path class="line" d="{path}"/>' if path else ""


def _mark(x: float, place: Place) -> str:
    if place.score is None:
        return ""
    kind = "up" if place.score >= 0 else "down"
    size = 1 + 3 * place.confidence
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{_y(place.score):.1f}" r="{size:.1f}"/>'
