"""Runs a module as ``python -m`` does, and lets the harness look inside.

``python -m tests.chaos.program THREADS MODULE ARGUMENTS``: writes the names of the threads to
the file THREADS each second, and where they stand to stderr upon SIGUSR1.
"""

from __future__ import annotations

import faulthandler
import json
import re
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

NAMES_SECONDS = 1.0


def _tell_names(path: Path) -> None:
    while True:
        names = sorted(_name(thread) for thread in threading.enumerate())
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(names))
        beside.replace(path)
        time.sleep(NAMES_SECONDS)


def _name(thread: threading.Thread) -> str:
    """Its class and its name without numbers: dramatiq's threads have no names of their own."""
    return f"{type(thread).__name__}:{re.sub(r'[0-9]+', 'N', thread.name)}"


if __name__ == "__main__":
    threads, module, *arguments = sys.argv[1:]
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    telling = threading.Thread(target=_tell_names, args=(Path(threads),), name="chaos-names", daemon=True)
    telling.start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
