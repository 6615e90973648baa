"""A rolling deploy: processes of the last version and of this tree, each doing the other's jobs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tbcache.models import FetchRequest
from tests.server import PATIENT, Server, wait_until
from tests.test_workers import START_SECONDS, Fleet
from tests.upstream import running_simulator

ROOT = Path(__file__).parents[1]
#: The last commit that may run beside this tree. A change of the layout of what is in Redis moves it to the
#: commit that changes it; so does a release.
LAST = "4c7f7c6d29f0"
LIMITS = {"news": "10/1s"}
COUNT = 12


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the last version, of what runs."""
    parts = ("tbcache", "workers", "scheduler")
    done = subprocess.run(
        ["git", "archive", LAST, *parts], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    if done.returncode:
        pytest.skip(f"the history has no {LAST}: {done.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("last")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def fleet(private_server: Server, tmp_path: Path) -> Iterator[Fleet]:
    with running_simulator(limits=LIMITS) as upstream:
        fleet = Fleet(private_server, upstream, tmp_path / "data")
        # A slow answer is no outage on a busy machine: a worker would say so, and no warning is expected.
        fleet.variables |= {"TBCACHE_NEWS__LIMITS": LIMITS["news"], **PATIENT}
        yield fleet
        fleet.close()


def said_by(folder: Path, fleet: Fleet, code: str) -> list[str]:
    """What a bot of the version in ``folder`` prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **fleet.variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_workers_of_two_versions_do_each_others_jobs_within_one_limit(last: Path, fleet: Fleet) -> None:
    """Whoever deploys one process after the other stops nothing, pays nothing twice and exceeds no limit."""
    workers = [
        fleet.start("-m", "workers", "news", "--threads", "2", cwd=folder, TBCACHE_WORKER_NAME=name)
        for name, folder in (("old", last), ("new", ROOT))
    ]
    fleet.await_alive(2)
    ours = [fleet.queue.enqueue(FetchRequest("news", f"NEW{number}")) for number in range(COUNT)]
    theirs = said_by(
        last,
        fleet,
        f"""if True:
        from tbcache import enqueue
        jobs = [enqueue("news", f"OLD{{number}}") for number in range({COUNT})]
        for job in jobs:
            print(job.result(timeout={START_SECONDS}).origin)
        """,
    )
    assert theirs == ["live"] * COUNT
    assert [job.result(timeout=START_SECONDS).origin for job in ours] == ["live"] * COUNT

    # Both took part, or nothing is shown by this.
    wait_until(lambda: {"old", "new"} <= set(fleet.monitor.get_worker_metrics("news")), 20)
    stats = fleet.upstream.stats()["news"]
    assert (stats["refused"], stats["accepted"]) == (0, 2 * COUNT)
    again = said_by(
        last,
        fleet,
        "from tbcache import get_provider; print(get_provider('news').fetch('NEW1').origin)",
    )
    assert again == ["cache"]
    assert [worker.stop() for worker in workers] == [0, 0], [worker.output for worker in workers]
    for worker in workers:
        assert "Traceback" not in worker.output
        assert "[warning" not in worker.output
