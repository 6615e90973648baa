"""The supervisor over small real processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tbcache.embedded import KeepsDying, ProcessGroup, Program, Supervisor, supervisor
from tests.cli.command import is_alive
from tests.server import wait_until

STUBBORN = ("/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done")


class World:
    """A supervisor, and what it has said."""

    def __init__(self, group: ProcessGroup) -> None:
        self.said: list[str] = []
        self.supervisor = Supervisor(group, self.said.append)

    def watch_until(self, text: str) -> None:
        def is_said() -> bool:
            self.supervisor.watch()
            return text in self.said

        wait_until(is_said, what=text)


@pytest.fixture
def world() -> Iterator[World]:
    with ProcessGroup() as group:
        world = World(group)
        yield world
        world.supervisor.stop((0.0, 0.0, 0.0))


def test_a_part_that_dies_is_started_again_and_said_so(world: World) -> None:
    """One crash must not cost the fleet a worker."""
    world.supervisor.start(Program("sleeper", ("/bin/sleep", "60")))
    first = world.supervisor.pids["sleeper"]
    subprocess.run(["kill", "-9", str(first)], check=True)
    world.watch_until("sleeper died (signal 9); started again")
    assert world.supervisor.pids["sleeper"] != first


def test_a_part_that_keeps_dying_ends_the_whole_with_the_end_of_its_log(world: World, tmp_path: Path) -> None:
    """Started again for ever it would only fill the log; its last words are the reason."""
    part = Program("broken", ("/bin/sh", "-c", "echo no such table >&2; exit 7"), log=tmp_path / "broken.log")
    world.supervisor.start(part)
    with pytest.raises(KeepsDying) as caught:
        world.watch_until("never")
    message = str(caught.value)
    assert "broken keeps dying (5 times within 30 s, last: exit code 7)" in message
    assert message.splitlines()[-1] == "  no such table"
    assert world.said.count("broken died (exit code 7); started again") == 4


def test_one_that_cannot_be_stopped_is_killed_in_time(world: World, tmp_path: Path) -> None:
    """`up` promises to be gone within 5 s, whatever a child does."""
    part = Program("deaf", STUBBORN, log=tmp_path / "deaf.log")
    world.supervisor.start(part)
    wait_until(lambda: part.tail() == ("deaf",))
    pid, began = world.supervisor.pids["deaf"], time.monotonic()
    world.supervisor.stop((0.6, 0.5, 0.4))
    assert not is_alive(pid)
    assert time.monotonic() - began < 2
    assert "deaf did not stop in time and was killed" in world.said


def test_what_is_waited_for_is_said(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has pressed Ctrl-C sees why nothing seems to happen, and what ends it."""
    monkeypatch.setattr(supervisor, "SAID_SECONDS", 0.05)
    part = Program("deaf", STUBBORN, log=tmp_path / "deaf.log")
    world.supervisor.start(part)
    wait_until(lambda: part.tail() == ("deaf",))

    def is_said() -> bool:
        return any(one.startswith("waiting") for one in world.said)

    world.supervisor.stop((9.0, 9.0, 9.0), hurry=is_said)
    assert world.said[-2:] == [
        "waiting for deaf to finish what is in hand, 9 s at most; a second Ctrl-C ends all at once",
        "deaf was killed",
    ]


def test_an_urgent_stop_waits_for_nobody(world: World, tmp_path: Path) -> None:
    """The second Ctrl-C means: now."""
    part = Program("deaf", STUBBORN, log=tmp_path / "deaf.log")
    world.supervisor.start(part)
    wait_until(lambda: part.tail() == ("deaf",))
    began = time.monotonic()
    world.supervisor.stop((60.0, 60.0, 60.0), hurry=lambda: True)
    assert time.monotonic() - began < 2


def test_lower_stages_stop_after_higher_ones(world: World, tmp_path: Path) -> None:
    """A worker that hands its jobs back needs its server to the last."""
    order = tmp_path / "order"
    for name, stage in (("server", 0), ("upstream", 1), ("worker", 2)):
        script = (
            f"trap 'sleep 0.05; echo {name} >> {order}; exit 0' TERM; echo up; while :; do sleep 0.02; done"
        )
        part = Program(name, ("/bin/sh", "-c", script), log=tmp_path / f"{name}.log", stage=stage)
        world.supervisor.start(part)
        wait_until(lambda part=part: part.tail() == ("up",))
    world.supervisor.stop()
    assert order.read_text().split() == ["worker", "upstream", "server"]


def test_a_log_begins_anew_at_the_start_and_goes_on_after_a_death(world: World, tmp_path: Path) -> None:
    """The words before a crash are the ones that matter; those of last week are not."""
    log = tmp_path / "part.log"
    log.write_text("last week\n")
    part = Program("part", ("/bin/sh", "-c", "echo today; exec sleep 60"), log=log)
    world.supervisor.start(part)
    wait_until(lambda: part.tail() == ("today",))
    subprocess.run(["kill", "-9", str(world.supervisor.pids["part"])], check=True)
    world.watch_until("part died (signal 9); started again")
    wait_until(lambda: part.tail() == ("today", "today"))


def test_a_log_that_has_grown_too_long_is_begun_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `up` that runs for a year must not fill the disk."""
    monkeypatch.setattr("tbcache.embedded.program.LOG_BYTES", 10)
    part = Program(
        "part", ("/bin/sh", "-c", "echo more than ten bytes; exec sleep 60"), log=tmp_path / "part.log"
    )
    world.supervisor.start(part)
    wait_until(lambda: part.tail() == ("more than ten bytes",))
    world.supervisor.trim_logs()
    assert part.tail() == ()
    assert (tmp_path / "part.old.log").read_text() == "more than ten bytes\n"


OWNER = """
    import subprocess, time
    from tbcache.embedded import ProcessGroup
    with ProcessGroup() as group:
        deaf = ("/bin/sh", "-c", "trap '' TERM HUP INT; sleep 60; sleep 60")
        children = [group.spawn(deaf) for _ in range(2)]
        if {kill_guard}:
            group._keeper.kill()
            group._keeper.wait()
            group.ensure_keeper()
        print(group._keeper.pid, *(child.pid for child in children), flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("kill_guard", [False, True])
def test_children_do_not_outlive_an_owner_that_is_killed(kill_guard: bool) -> None:
    """SIGKILL runs no handler; a child that ignores signals would stay for ever."""
    script = textwrap.dedent(OWNER).format(kill_guard=kill_guard)
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout as out:
        pids = [int(pid) for pid in out.readline().split()]
        assert len(pids) == 3
        assert all(is_alive(pid) for pid in pids)
        owner.kill()
        owner.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in pids), 2.0, what="an end of the children")


def test_the_end_of_a_group_is_the_end_of_its_processes() -> None:
    """Whatever way the block is left, nothing of it stays."""
    with ProcessGroup() as group:
        child = group.spawn(("/bin/sleep", "60"))
    assert child.wait(timeout=60) == -9
