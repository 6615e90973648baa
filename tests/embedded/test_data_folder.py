"""The data folder: its lock and its note."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tbcache.embedded import DataFolder
from tbcache.models.error import ConfigurationError
from tbcache.settings import Settings

URL = "redis://:secret@127.0.0.1:4711/0"
SIMULATOR = "http://127.0.0.1:4712/twitter"
DEMO = {
    "REDIS_URL": URL,
    "TBCACHE_TWITTER__BASE_URL": SIMULATOR,
    "TBCACHE_TWITTER__BEARER_TOKEN": "demo-twitter-bearer",
}


def plant(folder: Path, variables: dict[str, str], pid: int | None = None) -> None:
    """Lay a note into ``folder``, as whoever has filled it may have done."""
    pid = pid or os.getpid()
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, text in (("up.json", json.dumps({"pid": pid, "variables": variables})), ("up.lock", str(pid))):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)


def problem_of(folder: Path) -> str:
    """Why the note in ``folder`` was left out; the settings must be as without one."""
    settings = Settings.load({}, data_dir=folder)
    assert settings.redis is None
    return settings.runtime_file_problem or ""


def test_the_note_lives_as_long_as_its_owner_and_only_they_can_read_it(tmp_path: Path) -> None:
    """It holds the server's password; and a note of nobody leads to nowhere."""
    folder = DataFolder(tmp_path / "data")
    with folder.locked():
        folder.write_runtime_file({"REDIS_URL": URL}, "http://127.0.0.1:8000")
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
    with folder.locked():
        folder.write_runtime_file({"REDIS_URL": URL})
        env = {"REDIS_HOST": "example.test", "TBCACHE_DATA_DIR": str(tmp_path)}
        assert Settings.load(env).redis == "redis://example.test:6379/0"
        # As an .env that was not filled in leaves it: not set, and no word to run alone.
        assert Settings.load({"REDIS_URL": ""}, data_dir=tmp_path).redis == URL


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    """The second must learn who the first is."""
    with (
        DataFolder(tmp_path).locked(),
        pytest.raises(ConfigurationError, match=rf"another `tbcache up` \(pid {os.getpid()}\)"),
        DataFolder(tmp_path).locked(),
    ):
        pass
    with DataFolder(tmp_path).locked():
        pass


def test_the_note_of_one_that_was_killed_is_removed_first(tmp_path: Path) -> None:
    """In a container the new process may have the old one's pid, and would believe the note."""
    (tmp_path / "up.json").write_text(json.dumps({"pid": os.getpid(), "variables": {"REDIS_URL": URL}}))
    with DataFolder(tmp_path).locked():
        assert Settings.load({}, data_dir=tmp_path).redis is None


@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b"5", b'{"pid": 1}', b'{"pid": 1, "variables": 5}', b'"\xff"', b'{"x":' * 5000]
)
def test_a_damaged_note_is_none_and_said_so(tmp_path: Path, note: bytes) -> None:
    """A full disk leaves half a file, and every command reads it."""
    with DataFolder(tmp_path).locked():
        (tmp_path / "up.json").write_bytes(note)
        (tmp_path / "up.json").chmod(0o600)
        assert problem_of(tmp_path) == f"{tmp_path / 'up.json'} is ignored: it is damaged"


# Notes that nobody of ours has written


def test_without_a_note_there_is_nothing_to_say(tmp_path: Path) -> None:
    """A folder of one's own that nothing runs in is the usual case."""
    assert Settings.load({}, data_dir=tmp_path).runtime_file_problem is None
    assert Settings.load({}, data_dir=tmp_path / "none").runtime_file_problem is None


@pytest.mark.parametrize("pid", [os.getpid(), os.getppid(), 1], ids=["ours", "our parent's", "the first"])
def test_a_planted_note_that_names_a_living_process_is_not_believed(tmp_path: Path, pid: int) -> None:
    """A cloned repository can hold any file, and the pid of something that runs is easily guessed."""
    plant(tmp_path, DEMO, pid)
    assert f"no `tbcache up` (pid {pid}) runs here" in problem_of(tmp_path)


def test_a_planted_note_without_a_lock_is_not_believed(tmp_path: Path) -> None:
    """The lock is what shows that the note's writer runs."""
    plant(tmp_path, DEMO)
    (tmp_path / "up.lock").unlink()
    assert "no `tbcache up`" in problem_of(tmp_path)


def test_the_lock_must_be_that_of_the_process_that_wrote_the_note(tmp_path: Path) -> None:
    """The pid of one that was killed may be another's by now."""
    with DataFolder(tmp_path).locked():
        plant(tmp_path, DEMO)
        assert Settings.load({}, data_dir=tmp_path).redis == URL
        (tmp_path / "up.json").write_text(json.dumps({"pid": 1, "variables": DEMO}))
        assert "no `tbcache up` (pid 1) runs here" in problem_of(tmp_path)


def make_folder_open(folder: Path) -> None:
    folder.chmod(0o755)


def make_note_open(folder: Path) -> None:
    (folder / "up.json").chmod(0o620)


def make_lock_open(folder: Path) -> None:
    # Whoever can read it can hold it.
    (folder / "up.lock").chmod(0o644)


def make_note_a_link(folder: Path) -> None:
    (folder / "up.json").rename(folder / "elsewhere.json")
    (folder / "up.json").symlink_to("elsewhere.json")


def make_lock_a_link(folder: Path) -> None:
    (folder / "up.lock").rename(folder / "elsewhere.lock")
    (folder / "up.lock").symlink_to("elsewhere.lock")


def make_folder_a_link(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def make_note_a_pipe(folder: Path) -> None:
    (folder / "up.json").unlink()
    os.mkfifo(folder / "up.json", 0o600)


UNSOUND = [
    (make_folder_open, "its folder is open to other users (mode 0755)"),
    (make_note_open, "it is open to other users (mode 0620)"),
    (make_lock_open, "up.lock is open to other users (mode 0644)"),
    (make_note_a_link, "symbolic link"),
    (make_lock_a_link, "symbolic link"),
    (make_folder_a_link, "its folder is a symbolic link"),
    (make_note_a_pipe, "it is no plain file"),
]


@pytest.mark.parametrize(("change", "expected"), UNSOUND, ids=[change.__name__ for change, _ in UNSOUND])
def test_a_note_that_others_may_have_written_is_not_believed(
    tmp_path: Path, change: Callable[[Path], None], expected: str
) -> None:
    """In a shared folder others could lead every command to a Redis, and a simulator, of their own."""
    folder = tmp_path / "data"
    plant(folder, DEMO)
    with (folder / "up.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert Settings.load({}, data_dir=folder).redis == URL
        change(folder)
        assert expected in problem_of(folder)


def test_a_note_of_another_user_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs may be closed to all others as well, us included but for root."""
    with DataFolder(tmp_path).locked():
        plant(tmp_path, DEMO)
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
        assert f"its folder belongs to another user (uid {tmp_path.stat().st_uid})" in problem_of(tmp_path)


# What is taken from a note


def test_only_a_fixed_list_of_variables_is_taken_from_a_note(tmp_path: Path) -> None:
    """A file must not choose what is run, nor where secrets go, even if all else is right with it."""
    with DataFolder(tmp_path).locked():
        chosen = {"TBCACHE_NAMESPACE": "demo", "TBCACHE_DATABASE_URL": "sqlite:////x.db"}
        plant(
            tmp_path,
            DEMO | chosen | {"TBCACHE_SOURCES": "evil=evil:Evil", "TBCACHE_API_TOKEN": "x", "HOME": "/"},
        )
        settings = Settings.load({}, data_dir=tmp_path)
    assert (settings.redis, settings.namespace, settings.sources) == (URL, "demo", {})
    assert settings.twitter.base_url == SIMULATOR
    assert settings.api_token is None


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.test/twitter",
        "http://127.0.0.1.evil.test:80/twitter",
        "http://127.0.0.1:80@evil.test/twitter",
        "http://127.0.0.1:80\\@evil.test/twitter",
        "http://10.0.0.1:80/twitter",
    ],
)
def test_a_note_leads_to_no_upstream_but_on_this_machine(tmp_path: Path, address: str) -> None:
    """A demo's simulator is the only upstream that a note has a reason to name."""
    with DataFolder(tmp_path).locked():
        plant(tmp_path, DEMO | {"TBCACHE_TWITTER__BASE_URL": address})
        assert "its TBCACHE_TWITTER__BASE_URL is no simulator on this machine" in problem_of(tmp_path)


def test_to_an_address_of_a_note_go_the_credentials_of_the_note_alone(tmp_path: Path) -> None:
    """The user's own are for the real upstream, and the demo needs none of them."""
    own = {"TBCACHE_TWITTER__BEARER_TOKEN": "real", "TBCACHE_TWITTER__API_KEY": "real"}
    with DataFolder(tmp_path).locked():
        plant(tmp_path, DEMO)
        twitter = Settings.load(own, data_dir=tmp_path).twitter
        assert twitter.bearer_token is not None
        assert (twitter.base_url, twitter.bearer_token.get_secret_value()) == (
            SIMULATOR,
            "demo-twitter-bearer",
        )
        assert twitter.api_key is None
        del own["TBCACHE_TWITTER__API_KEY"]
        plant(tmp_path, {"REDIS_URL": URL, "TBCACHE_TWITTER__BASE_URL": SIMULATOR})
        assert Settings.load(own, data_dir=tmp_path).twitter.bearer_token is None


def test_a_source_whose_address_the_user_has_set_is_theirs_altogether(tmp_path: Path) -> None:
    """Half of the demo and half of the user's own would send one's credentials to the other's address."""
    with DataFolder(tmp_path).locked():
        plant(tmp_path, DEMO)
        own = {"TBCACHE_TWITTER__BASE_URL": "https://api.x.com"}
        twitter = Settings.load(own, data_dir=tmp_path).twitter
    assert (twitter.base_url, twitter.bearer_token) == ("https://api.x.com", None)


def test_with_another_redis_a_note_counts_for_nothing(tmp_path: Path) -> None:
    """A demo's answers in the user's own Redis would pass for real ones."""
    with DataFolder(tmp_path).locked():
        plant(tmp_path, DEMO)
        env = {"REDIS_URL": "redis://example.test/0", "TBCACHE_DATA_DIR": str(tmp_path)}
        assert Settings.load(env).twitter.base_url is None
        assert Settings.load({"REDIS_URL": URL}, data_dir=tmp_path).twitter.base_url == SIMULATOR


# The folder itself


def put_a_link_for_logs(folder: Path) -> None:
    (folder / "logs").symlink_to(folder.parent)


def put_a_link_deeper(folder: Path) -> None:
    (folder / "valkey" / "appendonlydir").mkdir(parents=True)
    (folder / "valkey" / "appendonlydir" / "appendonly.aof.manifest").symlink_to("/dev/null")


def put_a_link_for_the_lock(folder: Path) -> None:
    (folder.parent / "precious").write_text("precious")
    (folder / "up.lock").symlink_to(folder.parent / "precious")


def open_what_lies_there(folder: Path) -> None:
    (folder / "tbcache.sqlite3").write_text("planted")
    folder.chmod(0o755)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (put_a_link_for_logs, "logs is no plain file or folder"),
        (put_a_link_deeper, "appendonly.aof.manifest is no plain file or folder"),
        (put_a_link_for_the_lock, "symbolic link"),
        (open_what_lies_there, "it is open to other users (mode 0755)"),
        (make_folder_a_link, "it is a symbolic link"),
    ],
)
def test_a_folder_that_others_may_have_filled_is_not_used(
    tmp_path: Path, change: Callable[[Path], None], expected: str
) -> None:
    """A planted database answers whatever its author likes, and a link leads logs into any file of ours."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    change(folder)
    with pytest.raises(ConfigurationError) as caught, DataFolder(folder).locked():
        pass
    assert expected in str(caught.value).lower()
    assert "choose another --data-dir" in str(caught.value)
    assert not (tmp_path / "precious").exists() or (tmp_path / "precious").read_text() == "precious"


def test_a_folder_with_what_belongs_to_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns the database can change it at any time."""
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(ConfigurationError, match="belongs to another user"), DataFolder(tmp_path).locked():
        pass


def test_an_empty_folder_is_closed_to_others_when_it_is_taken(tmp_path: Path) -> None:
    """A volume of a container is open at first, and nothing lies in it that could have been planted."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    with DataFolder(folder).locked():
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
