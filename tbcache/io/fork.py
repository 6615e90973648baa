"""What a forked child begins anew.

A child has only the thread that forked. Another thread of the parent may have held a lock at that moment,
which nobody would release in the child, or may have been at work for others, who would wait there for ever.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """An object with locks, or with work under way, of its own."""

    def renew(self) -> None:
        """Begin anew, with new locks and nothing under way."""


#: In the order in which they were made, as the later ones are made of the earlier ones.
_RENEWABLE: weakref.WeakKeyDictionary[Renewable, None] = weakref.WeakKeyDictionary()


def renew_in_child(owner: Renewable) -> None:
    """Have ``owner.renew`` called in each child that is forked, before anything else of ours runs there."""
    _RENEWABLE[owner] = None


def _after_fork() -> None:
    for owner in list(_RENEWABLE):
        owner.renew()


os.register_at_fork(after_in_child=_after_fork)
