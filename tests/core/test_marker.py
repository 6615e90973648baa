"""The file that says of a process what Redis cannot: that it is there, and that it is clean."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tbcache.rate_limiter import RateLimiter
from tbcache.sources import BUILT_IN
from tbcache.store import Store
from tbcache.store.marker import KEPT_SECONDS, Marker
from tests.server import Server, wait_until

OURS = f"machine-{os.getpid()}.aaaa"
LIVING = f"machine-{os.getppid()}.bbbb"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all fleets, which the first marker makes."""
    monkeypatch.setattr("tbcache.store.marker._root", lambda: tmp_path / "markers")
    return tmp_path / "markers"


@pytest.fixture
def dead() -> str:
    """The name of a process that is over."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return f"machine-{process.pid}.cccc"


def folder_of(root: Path) -> Path:
    """The folder of the one fleet that is there."""
    (folder,) = root.iterdir()
    return folder


def grow_old(file: Path) -> None:
    moment = time.time() - KEPT_SECONDS - 1
    os.utime(file, (moment, moment), follow_symlinks=False)


def test_a_marker_says_what_was_said_last(root: Path) -> None:
    """Its share is given back at once, or kept: both by mistake cost slots."""
    marker = Marker("fleet", OURS)
    assert not marker.is_clean
    marker.set_clean()
    assert marker.is_clean
    assert marker.set_alone()
    assert not marker.is_clean
    marker.set_clean()
    marker.remove()
    assert not marker.is_clean
    marker.remove()


def test_only_others_of_the_same_fleet_are_company(root: Path) -> None:
    """Those of another Redis share nothing with this one."""
    one, other, foreign = Marker("fleet", OURS), Marker("fleet", LIVING), Marker("another", OURS)
    for marker in (one, foreign):
        marker.set_clean()
        assert not marker.has_company
    other.set_clean()
    assert one.has_company
    assert other.has_company
    assert not foreign.has_company
    other.remove()
    assert not one.has_company


def test_a_dead_process_is_company_unless_it_was_clean(root: Path, dead: str) -> None:
    """What it sent without Redis is in the window still."""
    Marker("fleet", dead).set_clean()
    assert not Marker("fleet", OURS).has_company
    Marker("fleet", dead).set_alone()
    assert Marker("fleet", OURS).has_company


@pytest.mark.parametrize("is_root", [True, False])
def test_a_folder_that_others_can_write_to_says_nothing(root: Path, is_root: bool) -> None:
    """Anybody could have planted what lies there, or may have it removed."""
    marker = Marker("fleet", OURS)
    marker.set_clean()
    folder = folder_of(root)
    (root if is_root else folder).chmod(0o777)
    marker.set_alone()
    assert (folder / OURS).read_bytes() != b""
    if not is_root:
        assert not marker.is_clean
        (folder / LIVING).write_bytes(b"clean")
        assert not marker.has_company


def test_a_link_in_place_of_the_folder_is_not_followed(root: Path, tmp_path: Path) -> None:
    """Whoever planted it chooses where we write, and what we read."""
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    root.symlink_to(theirs)
    Marker("fleet", OURS).set_clean()
    assert list(theirs.iterdir()) == []


def test_old_files_of_dead_processes_are_removed(root: Path, dead: str) -> None:
    """Each process leaves one that is killed; those of the living and what was written lately stay."""
    Marker("fleet", dead).set_alone()
    Marker("fleet", LIVING).set_clean()
    folder = folder_of(root)
    (folder / "nobody").touch()
    Marker("fleet", OURS).set_clean()
    assert len(list(folder.iterdir())) == 4
    for file in folder.iterdir():
        grow_old(file)
    Marker("fleet", OURS).set_clean()
    assert {file.name for file in folder.iterdir()} == {OURS, LIVING}


def test_a_file_without_a_process_is_no_company(root: Path) -> None:
    """It would keep newcomers from all they may take for an hour."""
    marker = Marker("fleet", OURS)
    marker.set_clean()
    (folder_of(root) / "nobody").touch()
    assert not marker.has_company


def test_a_folder_that_cannot_be_made_costs_the_marker_alone(root: Path) -> None:
    """No process ends of it."""
    root.write_text("a file")
    marker = Marker("fleet", OURS)
    marker.set_clean()
    assert not marker.is_clean
    assert marker.set_alone()
    assert not marker.has_company
    marker.remove()


def test_a_process_is_clean_again_after_an_outage(
    private_server: Server, store_for: Callable[..., Store]
) -> None:
    """Redis has been told of what it sent alone: were it killed now, its share need not be kept."""
    store = store_for(private_server)
    limiter = RateLimiter(BUILT_IN["twitter"], store)
    assert limiter.check_rate_limit()[0]
    store.stay_clean()
    private_server.stop()
    assert limiter.check_rate_limit()[0]
    assert not store.marker.is_clean
    private_server.start()
    wait_until(lambda: store.marker.is_clean)
