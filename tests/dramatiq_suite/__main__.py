"""Run dramatiq's own tests on the pacing broker: ``python -m tests.dramatiq_suite [--stock] [ARGUMENTS]``.

The source distribution of the installed version is fetched once, by pip, into the cache folder of this user.
Nothing of it is a part of this project.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from tests.server import Server

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tbcache" / "dramatiq"

OPTIONS = ("--timeout", "120", "--ignore", "tests/test_rabbitmq.py")


def main() -> int:
    arguments = [one for one in sys.argv[1:] if one != "--stock"]
    folder = _unpacked(version("dramatiq"))
    # A conftest.py here would be loaded by this project's own tests.
    for name, there in (
        ("fixtures.py", "conftest.py"),
        ("common.py", "common.py"),
        ("broker.py", "broker.py"),
    ):
        shutil.copy(HERE / name, folder / "tests" / there)
    (folder / "tests" / "__init__.py").write_text("from . import broker\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    server = Server(always_answers=True).start()
    try:
        chosen = {"DRAMATIQ_SUITE": "stock" if "--stock" in sys.argv else "paced"}
        environment = {**os.environ, **server.variables, **chosen, "PYTHONPATH": str(folder / "lib")}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *OPTIONS, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    finally:
        server.close()


def _unpacked(release: str) -> Path:
    """The folder that the distribution's tests are in, and what they import beside dramatiq."""
    folder = CACHE / f"dramatiq-{release}"
    if not (folder / "lib").exists():
        _pip("download", "--no-deps", "--no-binary", "dramatiq", "--dest", str(CACHE), f"dramatiq=={release}")
        with tarfile.open(CACHE / f"dramatiq-{release}.tar.gz") as archive:
            # The package itself is the one that is installed.
            tests = [one for one in archive if one.name.startswith(f"{folder.name}/tests/")]
            archive.extractall(CACHE, members=tests, filter="data")
        _pip("install", "--target", str(folder / "lib"), "pika")
    return folder


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", arguments[0], "--quiet", *arguments[1:]], check=True)


if __name__ == "__main__":
    sys.exit(main())
