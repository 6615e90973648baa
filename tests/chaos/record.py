"""A file of events, one line of JSON each, that survives the death of whoever writes it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Record:
    """Appends events; each is in the file before :meth:`write` returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **event: Any) -> None:
        """Append one event, with the machine's monotonic time as ``at`` unless it has one."""
        event.setdefault("at", time.monotonic())
        os.write(self._file, json.dumps(event).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The events in a file, in the order they were written."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            # A process that is killed may leave half a line at the end.
            if line.endswith(b"\n"):
                yield json.loads(line)
