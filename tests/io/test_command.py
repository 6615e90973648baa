"""Commands as they are sent."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tbcache.io.command import Packer, pack

#: Packs many numbers while a signal comes, whose handler raises, as that of Ctrl-C does.
PROGRAM = """
import signal
from tbcache.io.command import pack
from tbcache.store.node import Node

LOGIN = Node("redis://127.0.0.1/3", 1.0).connection()
pack = PACK

class Rung(Exception): pass

def ring(*_): raise Rung

signal.signal(signal.SIGALRM, ring)
numbers, rung = (1, 2.5) * 50_000, 0
for number in range(100):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0003 * (number + 1))
        while True:
            pack(numbers)
    except Rung:
        rung += 1
print(rung)
"""


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        (("GET", "a"), b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"),
        ((b"\xff", 10**20, 0.5), b"*3\r\n$1\r\n\xff\r\n$21\r\n100000000000000000000\r\n$3\r\n0.5\r\n"),
    ],
)
def test_numbers_are_sent_as_text(command: tuple[str | bytes | float, ...], sent: bytes) -> None:
    assert pack(command) == sent


def test_a_command_of_two_words_is_sent_as_such() -> None:
    """So redis-py has it; the server knew no "CONFIG GET"."""
    assert Packer().pack("CONFIG GET", "dir") == [pack(("CONFIG", "GET", "dir"))]


@pytest.mark.parametrize(
    "packs",
    ["pack", "lambda numbers: LOGIN.pack_command('SELECT', *numbers)"],
    ids=["of ours", "of a login"],
)
def test_a_signal_amid_a_command_is_an_exception(packs: str) -> None:
    """It ended the process by a segmentation fault."""
    program = PROGRAM.replace("PACK", packs)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout) == (0, "100\n")
