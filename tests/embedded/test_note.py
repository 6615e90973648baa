"""The data folder: its lock and its note."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tbcache.embedded import DataFolder
from tbcache.errors import ConfigurationError
from tbcache.settings import Settings

URL = "redis://:secret@127.0.0.1:4711/0"


def test_the_note_lives_as_long_as_its_owner_and_only_they_can_read_it(tmp_path: Path) -> None:
    """It holds the server's password; and a note of nobody leads to nowhere."""
    folder = DataFolder(tmp_path / "data")
    with folder.own():
        folder.write_note({"REDIS_URL": URL}, "http://127.0.0.1:8000")
        note = tmp_path / "data" / "up.json"
        assert stat.S_IMODE(note.stat().st_mode) == 0o600
        assert json.loads(note.read_text()) == {
            "pid": os.getpid(),
            "variables": {"REDIS_URL": URL},
            "api": "http://127.0.0.1:8000",
        }
        assert Settings.load({}, data_dir=tmp_path / "data").redis == URL
    assert not note.exists()


def test_the_environment_goes_before_the_note(tmp_path: Path) -> None:
    """Who says where Redis is must not be led elsewhere by a file."""
    folder = DataFolder(tmp_path)
    with folder.own():
        folder.write_note({"REDIS_URL": URL})
        env = {"REDIS_HOST": "example.test"}
        assert Settings.load(env, data_dir=tmp_path).redis == "redis://example.test:6379/0"


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    """The second must learn who the first is."""
    with (
        DataFolder(tmp_path).own(),
        pytest.raises(ConfigurationError, match=rf"another `tbcache up` \(pid {os.getpid()}\)"),
        DataFolder(tmp_path).own(),
    ):
        pass
    with DataFolder(tmp_path).own():
        pass


def test_the_note_of_one_that_was_killed_is_removed_first(tmp_path: Path) -> None:
    """In a container the new process may have the old one's pid, and would believe the note."""
    (tmp_path / "up.json").write_text(json.dumps({"pid": os.getpid(), "variables": {"REDIS_URL": URL}}))
    with DataFolder(tmp_path).own():
        assert Settings.load({}, data_dir=tmp_path).redis is None


@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b"5", b'{"pid": %d, "variables": 5}' % os.getpid(), b'{"pid": 1}']
)
def test_a_damaged_note_is_none(tmp_path: Path, note: bytes) -> None:
    """A full disk leaves half a file, and every command reads it."""
    (tmp_path / "up.json").write_bytes(note)
    assert Settings.load({}, data_dir=tmp_path).redis is None
