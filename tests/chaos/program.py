"""Runs a module as ``python -m`` does, and lets the harness look inside.

``python -m tests.chaos.program THREADS WAY MODULE ARGUMENTS``: writes the names of the threads to
the file THREADS each second, and where they stand to stderr upon SIGUSR1. WAY is ``PORT:OTHER``:
whatever it connects to PORT goes to OTHER, which can be cut; all processes have one address of the
server, as they would without. Empty: the straight way.
"""

from __future__ import annotations

import faulthandler
import json
import re
import runpy
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

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


def _go_round(port: int, other: int) -> None:
    connect = socket.socket.connect

    def led(self: socket.socket, address: Any) -> None:
        is_there = isinstance(address, tuple) and address[1] == port
        connect(self, (address[0], other) if is_there else address)

    setattr(socket.socket, "connect", led)  # noqa: B010 -- a method that the type checker holds fixed


if __name__ == "__main__":
    threads, way, module, *arguments = sys.argv[1:]
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    if way:
        _go_round(*map(int, way.split(":")))
    telling = threading.Thread(target=_tell_names, args=(Path(threads),), name="chaos-names", daemon=True)
    # A signal is for the program's own threads: this one must not be there to take it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    telling.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
