"""Numbers in base 36, as X and reddit write them in ids and page tokens."""

from __future__ import annotations

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def encode(number: int) -> str:
    """``number`` (not negative) in lower-case base 36."""
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return digits or "0"


def decode(text: str) -> int | None:
    """The number in ``text``; None where it is no such number."""
    lower = text.lower()
    return int(lower, 36) if lower and not lower.strip(_DIGITS) else None
