"""Lengths of time and amounts of memory, as people say them."""

from __future__ import annotations


def age(seconds: float) -> str:
    """About how long that is: 40 s, 12 min, 2.5 h, 3 d."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            many = seconds / size
            digits = 1 if many < 9.95 and unit != "min" and round(many, 1) % 1 else 0
            return f"{many:.{digits}f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def rough(seconds: float) -> str:
    """The same in whole numbers: 42 s, 7 min, 3 h, 2 d."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """About so many bytes: 512 B, 41 kB, 3.2 MB."""
    for many, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= many:
            part = count / many
            return f"{part:.{1 if part < 9.95 else 0}f} {unit}"
    return f"{count:.0f} B"
