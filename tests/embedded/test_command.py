"""Which program a worker or scheduler process is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tbcache.embedded import process_program
from tbcache.models.error import ConfigurationError


def test_a_foreign_workers_package_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`workers` is a name that a bot's own repository may well have, too."""
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__main__.py").write_text("print('foreign')")
    monkeypatch.chdir(tmp_path)
    part = process_program("worker-1", "workers", ("--help",))
    done = subprocess.run(part.command, env=part.env, capture_output=True, text=True, check=True)
    assert "--threads" in done.stdout
    assert "foreign" not in done.stdout


def test_the_wheel_has_the_processes_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed, nothing lies beside the package that is ours."""
    (tmp_path / "processes" / "workers").mkdir(parents=True)
    (tmp_path / "processes" / "workers" / "__main__.py").write_text("")
    monkeypatch.setattr("tbcache.embedded.command._PACKAGE", tmp_path)
    assert "tbcache.processes.workers" in process_program("worker-1", "workers").command


def test_an_installation_without_them_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Better one line than a module that cannot be found, five times."""
    monkeypatch.setattr("tbcache.embedded.command._PACKAGE", tmp_path / "tbcache")
    with pytest.raises(ConfigurationError, match="lacks its process 'scheduler'"):
        process_program("scheduler", "scheduler")


def test_no_module_of_the_working_folder_is_run_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be somebody else's repository, with a module of any name in it."""
    for name in ("redis", "dramatiq", "secrets"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('planted')")
    monkeypatch.chdir(tmp_path)
    part = process_program("worker-1", "workers", ("--help",))
    done = subprocess.run(part.command, env=part.env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--threads" in done.stdout
