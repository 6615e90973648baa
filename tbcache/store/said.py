"""What operators say, as Redis has it: each saying has a number, and the greater one is in force.

The number is the moment at which it was said, by the server's clock, and what is taken back stays as a saying
too (said.lua). So whoever knows two sayings of one thing knows which of them holds, whatever Redis has lost
meanwhile.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tbcache.models.untrusted import printable
from tbcache.store.reply import record

#: How long a name and a reason may be.
WHO, WHY = 64, 200
#: The value of what is taken back; of an order that is ``resume``.
TAKEN_BACK = "-"

_SAID = re.compile(r"(\S+) ([0-9]{1,16}) (\S+) ?(.*)", re.DOTALL)
#: Past it a number of Lua is not exact.
_LAST_SINCE = 2**53


class Said(NamedTuple):
    """What ``who`` has said, and why. ``since`` is when that was (us of the server's clock), 0 for now."""

    value: str
    since: int
    who: str
    why: str = ""


class Ordered(NamedTuple):
    """What stood until then, and what stands from then on, as said.lua has it. Where limits were said, those
    in force until then, and from then on.
    """

    before: bytes
    stands: bytes
    limits_before: str
    limits: str


ORDERED = record(Ordered)


def read_said(text: bytes | None) -> Said | None:
    """The saying of a field; None where it has none, or is damaged."""
    found = _SAID.fullmatch((text or b"").decode(errors="replace"))
    if found is None or not 0 < int(found[2]) < _LAST_SINCE:
        return None
    return Said(found[1], int(found[2]), printable(found[3], WHO), printable(found[4], WHY))
