"""What an error of anybody's code says, which that code may fail to make."""

from __future__ import annotations


def text_of(error: BaseException) -> str:
    """What an error says; "" where its own code cannot make that."""
    try:
        return str(error)
    except Exception:
        return ""


def described(error: BaseException) -> str:
    """An error of anybody's code: its kind, and what it says."""
    return f"{type(error).__name__}: {text_of(error)}"
