"""Commands in a folder that somebody else has filled: a cloned repository, a shared folder."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import TBCACHE, Done, clean_environment
from tests.server import Server, free_port
from tests.test_floors import ROOT

PLANTED = "from pathlib import Path\nPath('executed').touch()\nclass Evil: ...\n"


@pytest.fixture
def repository(tmp_path: Path, server: Server) -> Path:
    """A folder with a note, as of a demo that runs, and the modules that it names."""
    variables = {
        "REDIS_URL": server.url,
        "TBCACHE_SOURCES": "evil=evil:Evil",
        "TBCACHE_TWITTER__BASE_URL": f"http://127.0.0.1:{free_port()}/twitter",
    }
    folder = tmp_path / "repository" / ".tbcache"
    folder.mkdir(parents=True)
    (folder / "up.json").write_text(json.dumps({"pid": os.getpid(), "variables": variables}))
    (folder / "up.lock").write_text(str(os.getpid()))
    for name in ("evil", "cryptography", "xxhash", "better_exceptions"):
        (folder.parent / f"{name}.py").write_text(PLANTED)
    return folder.parent


def tbcache(folder: Path, *args: str, **variables: str) -> Done:
    env = clean_environment(PYTHONPATH=str(ROOT), **variables)
    done = subprocess.run([*TBCACHE, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("args", [("status",), ("warm", "AAPL")], ids=" ".join)
def test_a_planted_note_is_ignored_and_said_so(repository: Path, args: tuple[str, ...]) -> None:
    """It would have a module of the folder executed, and real credentials sent to its author."""
    done = tbcache(repository, *args, TBCACHE_TWITTER__BEARER_TOKEN="real")
    assert done.code == 3
    first, second = done.err.splitlines()
    assert first == "tbcache: .tbcache/up.json is ignored: its folder is open to other users (mode 0755)"
    assert "no `tbcache up` runs with the data folder .tbcache" in second
    assert not (repository / "executed").exists()


def test_what_is_ignored_is_said_once(repository: Path, server: Server) -> None:
    done = tbcache(repository, "queue", "pause", "news", REDIS_URL=server.url)
    assert (done.code, done.err.count("up.json is ignored")) == (0, 1)


def test_no_module_of_the_folder_is_imported_without_the_users_word(repository: Path, server: Server) -> None:
    """Libraries try to import what is not installed here: they would find it in the folder."""
    (repository / ".tbcache" / "up.json").unlink()
    done = tbcache(repository, "limits", REDIS_URL=server.url)
    assert (done.code, done.err) == (0, "")
    assert not (repository / "executed").exists()
    named = tbcache(repository, "limits", REDIS_URL=server.url, TBCACHE_SOURCES="evil=evil:Evil")
    assert (named.code, "evil=evil:Evil is no tbcache.Provider" in named.err) == (2, True)
    assert (repository / "executed").exists()


def test_up_does_not_use_a_folder_that_was_filled_by_others(repository: Path) -> None:
    """The database and the server's own file in it may hold any answer."""
    done = tbcache(repository, "up", "--demo")
    assert (done.code, done.out) == (2, "")
    where = repository / ".tbcache"
    assert done.err == (
        f"tbcache: the data folder {where} cannot be used (it is open to other users (mode 0755)); "
        f"if all in it is yours, `chmod 700 {where}`, else choose another --data-dir\n"
    )
