"""The log of one process as a file, which is begun anew when it is full; of the old ones a few are kept.

It is the process's stdout and stderr as well, so that what Python or a library prints, as at a crash, stands
in the same file, and goes on into the next one.
"""

from __future__ import annotations

import logging
import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from tbcache.io.lock import try_lock
from tbcache.models.error import ConfigurationError

# What this is part of stands above it.
log = logging.getLogger("tbcache.io")

#: How long a file becomes, and how many full ones are kept beside it, as FILE.1, the last, to FILE.5.
LOG_BYTES, KEPT_FILES = 10 * 1024 * 1024, 5
#: stdout and stderr.
_STREAMS = (1, 2)


def open_log_file(path: Path) -> logging.StreamHandler[TextIOWrapper]:
    """A handler that writes to ``path``, which is this process's alone until it ends.

    Raises:
      ConfigurationError: it is another process's, or cannot be written.
    """
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not try_lock(lock):
            os.close(lock)
            raise ConfigurationError(
                f"the log file {path} is another process's: give each its own TBCACHE_LOG_FILE"
            )
        # A child that is forked, and outlives this process, must not keep the file from the next one.
        os.register_at_fork(after_in_child=lambda: os.close(lock))
        return _LogFile(path, maxBytes=LOG_BYTES, backupCount=KEPT_FILES, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigurationError(
            f"the log file {path} cannot be written ({error.strerror or error}); set another TBCACHE_LOG_FILE"
        ) from None


class _LogFile(RotatingFileHandler):
    #: What it has when it is full.
    _full_bytes = 0

    def _open(self) -> TextIOWrapper:
        # Appending: what others print through the same file goes behind what is there.
        fd = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for stream in _STREAMS:
            os.dup2(fd, stream)
        return os.fdopen(fd, "a", encoding=self.encoding, errors=self.errors)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 -- the name of logging
        # What was printed past this handler counts as well.
        if self.stream is None:
            return False
        return os.fstat(self.stream.fileno()).st_size >= max(self.maxBytes, self._full_bytes)

    def doRollover(self) -> None:  # noqa: N802 -- the name of logging
        """Begin a new file; where that cannot be, go on in this one, until it is full once more."""
        try:
            super().doRollover()
        except OSError as error:
            # stdout is the file as it was, whatever its name is by now.
            fd = os.dup(_STREAMS[0])
            self.stream = os.fdopen(fd, "a", encoding=self.encoding, errors=self.errors)
            is_first, self._full_bytes = not self._full_bytes, os.fstat(fd).st_size + self.maxBytes
            if is_first:
                log.warning("log.not_rotated", extra={"reason": str(error)})
        else:
            self._full_bytes = 0
