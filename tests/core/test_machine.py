"""Which processes are found dead: those of this very machine, and no other's of the same name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tbcache.limiter import machine as machine_module
from tbcache.limiter.machine import Machine
from tbcache.store import Store
from tests.core.test_member import beat, leave, silence

#: The boot ids of a machine, and of another one of its name, or of the same after it was started again.
OURS, OTHER = "3f2b8c1e-0000-4000-8000-000000000001\n", "9d41aa07-0000-4000-8000-000000000002\n"


@pytest.fixture
def begin(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str | None], Machine]]:
    """This process's place on a machine with that boot id; None: its system tells nothing of itself."""
    monkeypatch.setattr("tbcache.limiter.marker.root", lambda: tmp_path / "markers")
    monkeypatch.setattr("socket.gethostname", lambda: "raspberrypi")

    def begin(boot: str | None) -> Machine:
        id = tmp_path / f"boot {boot}"
        if boot is not None:
            id.write_text(boot)
        monkeypatch.setattr(machine_module, "_BOOT_ID", id)
        machine_module._machine.cache_clear()
        return Machine(store)

    yield begin
    machine_module._machine.cache_clear()


def ended(machine: Machine) -> str:
    """The name of a process of that machine that is over."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return machine.member.replace(f"-{os.getpid()}.", f"-{done.pid}.")


def test_a_killed_process_of_this_machine_is_found_dead(begin: Callable[..., Machine]) -> None:
    """Its share goes to the others at once, or as soon as what it sent is old."""
    ours = begin(OURS)
    assert ours.is_dead(ended(ours))
    assert not ours.is_dead(ours.member)
    assert not ours.is_dead("raspberrypi")


def test_a_process_of_another_machine_of_the_same_name_is_not_found_dead(
    begin: Callable[..., Machine],
) -> None:
    """Machines made from one image: no process here has the number of one that lives there."""
    other = begin(OTHER)
    living = ended(other)
    assert not begin(OURS).is_dead(living)


def test_a_process_from_before_the_machine_was_started_again_is_found_dead(
    begin: Callable[..., Machine],
) -> None:
    """Its file is on this machine: there it was, and its number may be another's by now."""
    before = begin(OTHER)
    dead = before.member
    before.marker.set_clean()
    after = begin(OURS)
    assert not after.is_dead(dead)
    before.marker._let_go()
    assert after.is_dead(dead)


def test_where_the_system_does_not_tell_machines_apart_nobody_is_found_dead(
    begin: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers of one name on two hosts: each process has a machine of its own then."""
    monkeypatch.setattr("sys.platform", "linux")
    other = ended(begin(None))
    assert not begin(None).is_dead(other)


def test_one_that_is_heard_again_was_not_dead(store: Store) -> None:
    """Found dead by mistake, long ago: its share is not given away at once when it is next absent."""
    beat(store, "a")
    silence(store, "a")
    assert leave(store, "a", is_clean=False) > 0
    state = store.keys.state("twitter")
    store.client.hset(state, "died:a", 1)
    silence(store, "a")
    assert leave(store, "a", is_clean=False) > 0
    assert store.client.hexists(state, "share:a")
