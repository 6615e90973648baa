"""What one process alone knows, kept in its data folder: that Redis is away, and whom it has told so.

Redis cannot keep that. A process that is started again, which is what one does first, goes on with it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tbcache.fleet.incident import ID_DIGITS, Incident, read_incident
from tbcache.io.log import get_logger
from tbcache.io.private import Unsound, check_private, make_private, opened

log = get_logger("tbcache.alert")

MOST_FILES = 20
MOST_BYTES = 65_536
_NAME = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}\.json")


class Memory:
    """The incidents of one fleet in a data folder, a file each."""

    def __init__(self, data_dir: Path, namespace: str) -> None:
        self._folder = data_dir / "alerts" / namespace

    def read(self) -> list[Incident]:
        """Those that were written; what is damaged, or what others may have put there, is none."""
        return [one for name in self._names() if (one := self._read(name)) is not None]

    def write(self, one: Incident) -> None:
        """Write one, or write it anew; where that cannot be, the log says so, and nothing else suffers."""
        file = self._folder / f"{one.id}.json"
        try:
            make_private(self._folder)
            draft = file.with_suffix(f".{os.getpid()}")
            with opened(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
                os.write(fd, msgspec.json.encode(one))
            draft.replace(file)
        except OSError as error:
            log.warning("alert.not_remembered", reason=error.strerror or str(error))

    def forget(self, incident_id: str) -> None:
        """Remove one that Redis has by now."""
        with contextlib.suppress(OSError):
            (self._folder / f"{incident_id}.json").unlink(missing_ok=True)

    def _names(self) -> Iterator[str]:
        with contextlib.suppress(OSError):
            found = sorted(file.name for file in self._folder.iterdir() if _NAME.fullmatch(file.name))
            yield from found[:MOST_FILES]

    def _read(self, name: str) -> Incident | None:
        try:
            with opened(self._folder, os.O_DIRECTORY) as folder, opened(name, folder=folder) as file:
                check_private(os.fstat(folder), "its folder")
                check_private(os.fstat(file), "it")
                found = read_incident(os.read(file, MOST_BYTES))
        except (OSError, Unsound):
            return None
        return found if found is not None and f"{found.id}.json" == name else None
