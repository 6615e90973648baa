"""Which fleet a command means: by the data folder that is named, by the environment, or by where it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tbcache.cli import main
from tbcache.embedded import DataFolder
from tbcache.settings import Settings
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
        data.write_runtime_file({"REDIS_URL": server.url})
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
    (home / ".tbcache" / "up.json").write_text("{}")
    killed = cli("status", "--data-dir", "home")
    assert killed.code == 3
    assert "home/.tbcache/up.json is ignored: " in killed.err
    assert "no `tbcache up` runs with the data folder home)" in killed.err


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
        assert found["TBCACHE_NAMESPACE"] == ("trading_bot", "default")
        assert found["TBCACHE_DATABASE_URL"] == ("", "default")
        # As the process of a worker reads them, which the command becomes.
        children: list[dict[str, str]] = []
        monkeypatch.setattr(os, "execve", lambda path, args, env: children.append(env))
        for name in ("worker", "scheduler"):
            cli(name, "--data-dir", str(tmp_path))
        assert [Settings.load(env).redis for env in children] == [server.url] * 2
        # The same Redis is no other fleet: what is said beside it counts.
        named = settings_of(cli, "--data-dir", str(tmp_path), REDIS_URL=server.url)
        assert named["REDIS_URL"] == (server.url, "environment")
        assert named["TBCACHE_NAMESPACE"] == ("production", "environment")
    for name in OTHER:
        monkeypatch.delenv(name)
    assert dict(os.environ) == before


def test_where_nothing_runs_with_the_folder_that_is_typed_no_other_fleet_is_meant(
    cli: Cli, server: Server, tmp_path: Path
) -> None:
    """The demo has ended meanwhile, and production is exported."""
    reset = ("limits", "reset", "twitter", "--yes")
    for command in (reset, ("status", "--check"), ("fetch", "stocktwits", "AAPL")):
        done = cli(*command, "--data-dir", str(tmp_path), REDIS_URL=server.url, **nowhere())
        assert (done.code, done.out) == (3, "")
        assert f"runs with the data folder {tmp_path}; leave --data-dir out to ask {server.url}" in done.err
    # In the environment it is where the files of a fleet are that has a Redis of its own.
    assert cli(*reset, TBCACHE_DATA_DIR=str(tmp_path)).code == 0


def test_an_empty_folder_counts_as_not_named(cli: Cli, server: Server, tmp_path: Path) -> None:
    """A script with a variable that is not set would lay a server into the folder where it stands."""
    with up(tmp_path, server):
        elsewhere = settings_of(cli, "--data-dir", "")["TBCACHE_DATA_DIR"]
        assert elsewhere == (".tbcache", "default")
        named = cli("--data-dir", str(tmp_path), "config", "--json", "--data-dir", "").data
        assert {"variable": "REDIS_URL", "value": server.url, "origin": "runtime file"} in named


def test_what_one_command_names_is_not_meant_by_the_next_in_one_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A program that runs two commands is asked about the first one's fleet else."""
    assert main(["--data-dir", "over-there", "status"]) == 3
    assert "data folder over-there" in capsys.readouterr().err
    assert main(["status"]) == 3
    assert "data folder .tbcache" in capsys.readouterr().err
