"""What Redis refuses of a source's keys: a value of another type, a right that is missing, or a wrong script.

The process goes on without it for that source, or without what was refused. Its heartbeat tells it, so that
whoever looks at the fleet learns which keys to look at.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import msgspec

from tbcache.io import utc_now
from tbcache.models.shape import Shape
from tbcache.models.untrusted import NotJson, printable, read_json
from tbcache.settings import is_name

#: A refused call is tried again within a second or two, so that a refusal of so long ago is over.
LASTING_SECONDS = 10.0
#: The refusals of so many sources are kept and believed, and so many characters of each.
MOST_SOURCES = 100
MOST_SAID = 200


@dataclass(frozen=True, slots=True)
class Refusal(Shape):
    """What Redis refuses of a source's keys."""

    since: Annotated[datetime, msgspec.Meta(tz=True)]
    reason: str
    """In its words, behind the name of the script that met them."""
    is_bug: bool = False
    """The script is wrong, and the keys are as they should be."""


class Refusals:
    """What was refused to one process of late, by source."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[Refusal, float]] = {}

    def record(self, source: str, script: str, reason: str, *, is_bug: bool = False) -> None:
        """Redis has refused ``script`` on keys of ``source``."""
        refusal = Refusal(utc_now(), f"{script}: {reason}", is_bug)
        with self._lock:
            lasting = self._lasting()
            if source in lasting or len(lasting) < MOST_SOURCES:
                first = lasting.get(source, refusal)
                kept = replace(refusal, since=first.since)
                self._found[source] = kept, time.monotonic()

    def lasting(self) -> dict[str, Refusal]:
        """What is refused still, as far as is known: the last word of each source."""
        with self._lock:
            return self._lasting()

    def _lasting(self) -> dict[str, Refusal]:
        began = time.monotonic() - LASTING_SECONDS
        self._found = {source: found for source, found in self._found.items() if found[1] >= began}
        return {source: refusal for source, (refusal, _) in self._found.items()}


def read_refusals(data: bytes | msgspec.Raw) -> dict[str, Refusal]:
    """Those in a heartbeat; none where it is damaged."""
    try:
        found = read_json(data, dict[str, Refusal])
        return {name: _sound(one) for name, one in islice(found.items(), MOST_SOURCES) if is_name(name)}
    except (NotJson, ValueError, OverflowError):
        return {}


def _sound(refusal: Refusal) -> Refusal:
    """
    Raises:
      ValueError, OverflowError: it is of a moment that the calendar does not have in UTC.
    """
    return Refusal(refusal.since.astimezone(UTC), printable(refusal.reason, MOST_SAID), refusal.is_bug)
