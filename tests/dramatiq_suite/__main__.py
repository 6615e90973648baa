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

#: Not run: there is no RabbitMQ, and `--watch` hears of no change in some containers.
LEFT_OUT = ("tests/test_rabbitmq.py", "tests/test_watch.py")
OPTIONS = ("--timeout", "120", *(part for file in LEFT_OUT for part in ("--ignore", file)))

#: Tests of what RedisBroker and StubBroker are made of: CONTRIBUTING.md says why each fails, and is to.
INSIDES = (
    *(
        f"tests/test_redis.py::test_redis_{name}"
        for name in (
            "unacked_messages_can_be_requeued",
            "messages_can_be_dead_lettered",
            "dead_lettered_messages_are_cleaned_up",
            "messages_belonging_to_missing_actors_are_rejected",
            "requeues_unhandled_messages_on_shutdown",
            "requeues_unhandled_delay_messages_on_shutdown",
            "broker_can_connect_via_url",
            "broker_can_connect_via_client",
            "consumer_ack_can_retry_on_connection_error",
            "consumer_nack_can_retry_on_connection_error",
            "consumer_nack_does_not_raise_on_missing_id",
            "join_race_condition",
        )
    ),
    *(
        f"tests/test_stub_broker.py::test_stub_broker_{name}"
        for name in (
            "raises_queue_error_when_enqueueing_messages_on_undeclared_queues",
            "raises_queue_error_when_joining_on_undeclared_queues",
            "can_be_flushed",
        )
    ),
)


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
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
    server = Server(always_answers=True).start()
    try:
        is_stock = "--stock" in sys.argv
        chosen = {"DRAMATIQ_SUITE": "stock" if is_stock else "paced"}
        left_out = [part for name in INSIDES for part in ("--deselect", name)]
        # Dramatiq's command begins anew as the `python` of the path.
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        found = {"PATH": path, "PYTHONPATH": str(folder / "lib")}
        environment = {**os.environ, **server.variables, **chosen, **found}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *OPTIONS, *arguments]
        command += [] if is_stock else left_out
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
        _pip("install", "--target", str(folder / "lib"), "pika", "watchdog")
    return folder


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", arguments[0], "--quiet", *arguments[1:]], check=True)


if __name__ == "__main__":
    sys.exit(main())
