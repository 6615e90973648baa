"""Amounts of memory, as people say them."""

from __future__ import annotations


def size(count: float) -> str:
    """About so many bytes: 512 B, 41 kB, 3.2 MB."""
    for many, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= many:
            part = count / many
            return f"{part:.{1 if part < 9.95 else 0}f} {unit}"
    return f"{count:.0f} B"
