"""What the code of this process has declared for workers to call: the functions of sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tbcache.io.singleton import singleton


@dataclass(frozen=True, slots=True)
class Work:
    """A function of ``source``, which jobs name ``name``.

    ``call`` takes the slot that the job came with, and then the job's own arguments. Without a slot (None) it
    takes one itself. ``uses_slot``: a call costs as many slots as a job of the source comes with.
    """

    name: str
    source: str
    call: Callable[..., Any]
    uses_slot: bool


@singleton
def get_work() -> dict[str, Work]:
    """The declared work of this process, by name."""
    return {}
