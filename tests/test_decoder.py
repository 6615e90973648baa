"""Threads that read the first value of a class at the same time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Each round makes new classes, of which nothing is known yet, and has six threads read the first value.
PROGRAM = """
import sys, threading, types
from tbcache.models.decoder import convert
from tbcache.models.untrusted import read_json

SOURCE = '''
from __future__ import annotations
from dataclasses import dataclass
import msgspec

class Inner(msgspec.Struct):
    a: int | None
    b: dict[str, tuple[int, ...]] | None = None

@dataclass
class Plain:
    a: int
    x: Inner | None = None

class Outer(msgspec.Struct, frozen=True):
    a: int
    x: Inner | None = None
    p: Plain | None = None
    c: tuple[int, ...] = ()
    d: dict[str, Inner] = {}
'''
VALUE = {"a": 1, "x": {"a": 3}, "p": {"a": 1}, "c": [1, 2], "d": {"k": {"a": 1}}}
DATA = b'{"a":1,"x":{"a":3},"p":{"a":1},"c":[1,2],"d":{"k":{"a":1}}}'
sys.setswitchinterval(1e-6)
for n in range(150):
    module = types.ModuleType(f"made{n}")
    sys.modules[module.__name__] = module
    exec(SOURCE, module.__dict__)
    start = threading.Barrier(6)

    def read(kind):
        start.wait()
        if sys.argv[1] == "json":
            assert read_json(DATA, kind).d["k"].a == 1
        else:
            assert convert(VALUE, kind).d["k"].a == 1

    threads = [threading.Thread(target=read, args=(module.Outer,)) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
"""


@pytest.mark.parametrize("how", ["json", "plain"])
def test_threads_may_read_the_first_value_of_a_class_at_once(how: str) -> None:
    """The process of a bot ended by SIGSEGV as its threads began."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_reads_although_its_parent_was_learning_a_class() -> None:
    """The thread that held the lock is not in the child, which would wait for it for ever."""
    code = (
        "import os, signal\n"
        "from tbcache.models import decoder\n"
        "with decoder._LOCK:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        import threading\n"
        "        signal.alarm(60)\n"
        "        reads = threading.Thread(target=decoder.convert, args=([1], list[int]))\n"
        "        reads.start()\n"
        "        reads.join()\n"
        "        os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_class_is_read_around_that() -> None:
    """One place that decodes by itself would bring the fault back."""
    around = re.compile(r"msgspec\.(convert\(|(json|msgpack)\.(decode\(|Decoder\(\w))")
    found = [
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "tbcache").rglob("*.py")
        if path.name != "decoder.py"
        for line in path.read_text().splitlines()
        if around.search(line)
    ]
    assert found == []
