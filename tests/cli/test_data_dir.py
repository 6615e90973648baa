"""Which fleet a command means: by the data folder that is named, by the environment, or by where it runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tbcache.cli import main
from tbcache.embedded import DataFolder
from tbcache.settings import Settings
from tbcache.settings.folder import find_runtime_file
from tests.cli.command import Done
from tests.cli.test_up import nowhere
from tests.server import Server

Cli = Callable[..., Done]
OTHER = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "TBCACHE_DATABASE_URL": "postgresql://db.example.test/production",
    "TBCACHE_NAMESPACE": "production",
}


@contextmanager
def up(folder: Path, server: Server) -> Iterator[None]:
    """A ``tbcache up`` that was started in ``folder``, as other commands see it."""
    data = DataFolder(folder / ".tbcache")
    with data.locked():
        data.write_runtime_file({"REDIS_URL": server.url, "TBCACHE_NAMESPACE": "mine"})
        yield


def settings_of(cli: Cli, *args: str, **variables: str) -> dict[str, Any]:
    """What is in force, and where that is from, by variable."""
    done = cli("config", "--json", *args, **variables)
    return {one["variable"]: (one["value"], one["origin"]) for one in done.data}


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_folder_that_was_named_by_mistake_is_refused_and_left_alone(
    cli: Cli, tmp_path: Path, how: str
) -> None:
    """`fetch` went on alone there, past the limits of the fleet that was meant, and left a database."""
    folder = tmp_path / "mistyped"
    folder.mkdir()
    option = ("--data-dir", str(folder)) if how == "option" else ()
    variables = nowhere() if option else {**nowhere(), "TBCACHE_DATA_DIR": str(folder)}
    for command in (("fetch", "stocktwits", "AAPL"), ("backfill", "stocktwits", "AAPL", "--since", "1d")):
        done = cli(*command, *option, **variables)
        assert (done.code, done.out) == (3, "")
        assert f"REDIS_URL is not set, and no `tbcache up` runs with the data folder {folder}" in done.err
    assert not list(folder.iterdir())


def test_the_folder_where_up_was_started_leads_to_its_data_folder(
    cli: Cli, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who knows where it runs need not know how it calls its folder there."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    with up(home, server):
        for named in (str(home), str(home / ".tbcache"), "home", "home/.tbcache"):
            found = settings_of(cli, "--data-dir", named)
            assert found["REDIS_URL"] == (server.url, "runtime file")
            value, origin = found["TBCACHE_DATA_DIR"]
            assert (Path(value).resolve(), origin) == (home / ".tbcache", "command line")
        assert settings_of(cli, TBCACHE_DATA_DIR="home")["TBCACHE_DATA_DIR"] == ("home", "environment")
        monkeypatch.delenv("TBCACHE_DATA_DIR")
    # It has ended, or was killed: it is the folder all the same. `up` would begin a second one else.
    ended = cli("status", "--data-dir", "home")
    assert (ended.code, len(ended.err.splitlines())) == (3, 1)
    assert "no `tbcache up` runs with the data folder home/.tbcache)" in ended.err
    (home / ".tbcache" / "up.json").write_text("{}")
    assert "home/.tbcache/up.json is ignored: " in cli("status", "--data-dir", "home").err
    (home / "up.lock").touch()
    assert Settings.load({}, data_dir=home).data_dir == home


def test_the_folder_that_is_typed_goes_before_what_the_environment_says_of_another_fleet(
    cli: Cli, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With production exported in a shell, what is done to a demo must not be done to that."""
    before = dict(os.environ)
    with up(tmp_path, server):
        done = cli("limits", "reset", "twitter", "--yes", "--data-dir", str(tmp_path), **OTHER)
        assert done.code == 0, done.err
        config = cli("config", "--json", "--data-dir", str(tmp_path))
        assert f"{', '.join(OTHER)} count for nothing: --data-dir goes before" in config.err
        found = settings_of(cli, "--data-dir", str(tmp_path))
        assert found["REDIS_URL"] == (server.url, "runtime file")
        assert found["TBCACHE_NAMESPACE"] == ("mine", "runtime file")
        assert found["TBCACHE_DATABASE_URL"] == ("", "default")
        # As the processes read them that the commands become, or start.
        children: list[dict[str, str]] = []
        monkeypatch.setattr(os, "execve", lambda path, args, env: children.append(env))
        monkeypatch.setattr(signal, "pthread_sigmask", lambda how, mask: set())
        monkeypatch.setattr(
            "tbcache.cli.up.Supervisor.start", lambda _, program: children.append(program.env)
        )
        monkeypatch.setattr("tbcache.cli.up.StopSignal.wait", lambda _, seconds: True)
        for name in (["worker"], ["scheduler"], ["worker", "--processes", "2"]):
            cli(*name, "--data-dir", str(tmp_path))
        assert [Settings.load(env).redis for env in children] == [server.url] * 4
        # One Redis may be that of several, and none need be named beside a namespace.
        for url in (server.url, ""):
            named = settings_of(cli, "--data-dir", str(tmp_path), REDIS_URL=url)
            assert named["REDIS_URL"][0] == server.url
            assert named["TBCACHE_NAMESPACE"] == ("mine", "runtime file")
        # Where it is not typed the environment goes before it.
        monkeypatch.setenv("TBCACHE_DATA_DIR", str(tmp_path / ".tbcache"))
        assert settings_of(cli)["TBCACHE_NAMESPACE"] == ("production", "environment")
        monkeypatch.delenv("TBCACHE_DATA_DIR")
    for name in OTHER:
        monkeypatch.delenv(name)
    assert dict(os.environ) == before


def test_where_nothing_runs_with_the_folder_that_is_typed_no_other_fleet_is_meant(
    cli: Cli, server: Server, tmp_path: Path
) -> None:
    """The demo has ended meanwhile, and production is exported."""
    reset = ("limits", "reset", "twitter", "--yes")
    for command in (reset, ("status", "--check"), ("fetch", "stocktwits", "AAPL"), ("doctor",)):
        done = cli(*command, "--data-dir", str(tmp_path), REDIS_URL=server.url, **nowhere())
        assert (done.code, done.out) == (3, "")
        assert f"runs with the data folder {tmp_path}; leave --data-dir out to ask {server.url}" in done.err
    none = cli("history", "stocktwits", "AAPL", "--data-dir", str(tmp_path))
    assert (none.code, none.out) == (3, "")
    assert "nor has it a database" in none.err
    elsewhere = {"TBCACHE_DATABASE_URL": f"sqlite:///{tmp_path}/other.sqlite3"}
    assert cli("history", "stocktwits", "AAPL", "--data-dir", str(tmp_path), **elsewhere).code == 3
    assert not list(tmp_path.glob("tbcache*"))
    # In the environment it is where the files of a fleet are that has a Redis of its own.
    assert cli(*reset, TBCACHE_DATA_DIR=str(tmp_path)).code == 0


def test_a_folder_that_nobody_may_enter_is_one_where_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """To root every folder is open, so that it is not tried with a real one."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setattr(os, "lstat", refuse)
    named = Path("/srv/of-another")
    folder, found = find_runtime_file(named)
    assert (folder, found.variables) == (named, {})


def test_an_empty_folder_counts_as_not_named(cli: Cli, server: Server, tmp_path: Path) -> None:
    """A script with a variable that is not set would lay a server into the folder where it stands."""
    with up(tmp_path, server):
        elsewhere = settings_of(cli, "--data-dir", "")["TBCACHE_DATA_DIR"]
        assert elsewhere == (".tbcache", "default")
        named = cli("--data-dir", str(tmp_path), "config", "--json", "--data-dir", "").data
        assert {"variable": "REDIS_URL", "value": server.url, "origin": "runtime file"} in named


def test_two_commands_of_one_process_cannot_mean_two_fleets(
    capsys: pytest.CaptureFixture[str], server: Server, tmp_path: Path
) -> None:
    """What a process has made of the first folder stays so: what the second says was done to that fleet."""
    with up(tmp_path / "one", server), up(tmp_path / "two", server):
        reset = ["limits", "reset", "twitter", "--yes", "--data-dir"]
        # However it is spelled.
        for named in ("one", "one/../one", "one/.tbcache"):
            assert main([*reset, str(tmp_path / named)]) == 0
        capsys.readouterr()
        assert main([*reset, str(tmp_path / "two")]) == 2
        assert (
            f"goes by the data folder {tmp_path}/one/.tbcache already, and not by" in capsys.readouterr().err
        )
        assert main(["status"]) == 2
    assert "TBCACHE_DATA_DIR" not in os.environ
