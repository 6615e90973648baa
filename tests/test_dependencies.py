"""What an installation brings along, and what tbcache says where something is missing.

What is installed here is everything; a child process that may not import what the base does not bring
stands for an installation without extras.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import files, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tbcache.fetch.outbox import get_outbox
from tbcache.io import utc_now
from tbcache.models import Item, SymbolSentiment, extra
from tbcache.models.error import ConfigurationError, MissingExtra
from tbcache.repository import Answer
from tbcache.repository.handover import Handover
from tbcache.repository.spill import Spill
from tests.cli.command import clean_environment
from tests.server import Server
from tests.upstream import SimulatorProcess, running_simulator

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
MOST_DISTRIBUTIONS = 13
#: With bytecode, which is a little more than the rest of it, they are 22 MB at most.
MOST_BYTES = 10_400_000
#: On a busy machine a process waits as well for its server.
PATIENT = {"TBCACHE_REDIS_TIMEOUT": "10", "TBCACHE_LEASE_SECONDS": "120"}
#: What may be imported only where an extra is installed.
_BEHIND_DOORS = (
    "tbcache.api",
    "tbcache.cli.",
    "tbcache.io.web_protocol",
    "tbcache.repository.database",
    "tbcache.repository.engine",
    "tbcache.repository.database",
    "tbcache.repository.repository",
    "tbcache.repository.row",
    "tbcache.repository.schema",
    "tbcache.repository.statement",
    "tbcache.repository.table",
    "tbcache.embedded.simulator",
    "tbcache.io.web_server",
    "tbcache.testing.simulated.",
    "tbcache.__main__",
)


def closure(wanted: Iterable[str]) -> set[str]:
    """The distributions that ``wanted`` bring to this platform, themselves included."""
    found: set[str] = set()
    ahead = [Requirement(text) for text in wanted]
    while ahead:
        requirement = ahead.pop()
        name = canonicalize_name(requirement.name)
        if name not in found or requirement.extras:
            found.add(name)
            more = [Requirement(text) for text in requires(name) or ()]
            ahead += [one for one in more if _applies(one, requirement.extras or {""})]
    return found


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


BASE = {"tbcache"} | closure(PROJECT["dependencies"])


def beyond_the_base() -> list[str]:
    """Every module that is installed here and does not come with ``pip install tbcache``."""
    ours = {"tbcache", "workers", "scheduler"}
    return sorted(
        module
        for module, distributions in packages_distributions().items()
        if not {canonicalize_name(name) for name in distributions} & BASE
        and not module.startswith("_")
        and module not in ours
    )


def run_on_the_base(program: str, *args: str, folder: Path, **variables: str) -> str:
    """What ``program`` prints where nothing but the base can be imported."""
    head = f"import sys; sys.modules.update(dict.fromkeys({beyond_the_base()!r}))\n"
    done = subprocess.run(
        [sys.executable, "-c", head + program, *args],
        cwd=folder,
        env=clean_environment(PYTHONPATH=str(ROOT), TBCACHE_DATA_DIR=str(folder), **variables),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


# What comes along


def test_the_base_is_small() -> None:
    """Each distribution is one more to trust, to update and to wait for."""
    assert len(BASE) <= MOST_DISTRIBUTIONS, sorted(BASE)
    sizes = {name: _size(name) for name in BASE - {"tbcache"}}
    ours = sum(path.stat().st_size for path in (ROOT / "tbcache").rglob("*") if path.suffix != ".pyc")
    assert sum(sizes.values()) + ours <= MOST_BYTES, sizes


def _size(name: str) -> int:
    """The bytes of a distribution's files, without the bytecode, which not every installer makes."""
    found = [file.locate() for file in files(name) or () if file.suffix != ".pyc"]
    return sum(Path(str(path)).stat().st_size for path in found)


def test_what_stands_twice_or_is_not_maintained_does_not_come_along() -> None:
    """One parser of JSON is enough, and settings need no models of others."""
    unwanted = {"orjson", "pydantic-settings", "python-dotenv", "requests", "urllib3", "vadersentiment"}
    # OpenTelemetry's own exporter sends with requests.
    extras = {name: texts for name, texts in EXTRAS.items() if name != "otel"}
    everything = [text for texts in extras.values() for text in texts if not text.startswith("tbcache[")]
    assert (BASE | closure(everything)) & unwanted == set()


def test_each_extra_is_known_by_its_modules() -> None:
    """A module that is missing must be told with the extra that brings it, not with another."""
    named = {
        name: {canonicalize_name(Requirement(text).name) for text in texts} - {"tbcache"}
        for name, texts in EXTRAS.items()
    }
    assert named.pop("all") == set()
    modules = {name: set(map(canonicalize_name, some)) for name, some in extra.MODULES.items()}
    assert modules == named
    # What only tests use, and what is for a model of one's own, is no part of a program that has everything.
    assert Requirement(EXTRAS["all"][0]).extras | {"sql", "simulated", "onnx", "calendar"} == set(named)
    assert EXTRAS["postgres"][0] == "tbcache[sql]"


# What goes without extras

_IMPORT_ALL = """
import importlib, pkgutil, tbcache
names = [one.name for one in pkgutil.walk_packages(tbcache.__path__, "tbcache.", onerror=lambda name: None)]
wanted = [name for name in names if not name.startswith(tuple(sys.argv[1:]))]
for name in (*wanted, "workers.__main__", "scheduler.__main__"):
    importlib.import_module(name)
for name in set(tbcache.__all__) - {"SentimentRepository"}:
    getattr(tbcache, name)
print(len(wanted))
"""


def test_all_that_a_bot_uses_can_be_imported_without_an_extra(tmp_path: Path) -> None:
    """An import that only works where everything is installed is noticed by the first who installs less."""
    assert int(run_on_the_base(_IMPORT_ALL, *_BEHIND_DOORS, folder=tmp_path)) > 80


_BOT = """
import logging
logging.basicConfig(stream=sys.stdout, format="log %(message)s", level="WARNING")
from tbcache import cached, enqueue, get_cache_manager, get_provider, get_rate_limiter, get_usage_monitor

provider = get_provider("twitter")
print(provider.fetch("AAPL").origin, provider.fetch("AAPL").origin)
print(bool(enqueue("reddit", "GME").job_id))
print(get_rate_limiter("twitter").check_rate_limit()[0], cached(ttl=60)(lambda: 7)())
print(get_usage_monitor().get_source_metrics("twitter").source, get_cache_manager().exists("nothing"))
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with running_simulator() as simulator:
        yield simulator


@pytest.mark.parametrize("persist", [None, "true"])
def test_a_bot_fetches_and_enqueues_without_an_extra(
    server: Server, simulator: SimulatorProcess, tmp_path: Path, persist: str | None
) -> None:
    """What it fetches is kept by others of the fleet where that is asked for, and else it is said once."""
    variables = {} if persist is None else {"TBCACHE_PERSIST": persist}
    variables |= {"REDIS_URL": server.url, **PATIENT, **simulator.variables}
    said = run_on_the_base(_BOT, folder=tmp_path, **variables)
    unkept = "log repository.absent" in said
    lines = [line for line in said.splitlines() if not line.startswith("log ")]
    assert lines == ["live cache", "True", "True 7", "twitter False"]
    assert unkept == (persist is None)
    assert len(list(server.client.scan_iter("*outbox*"))) == (0 if unkept else 1)


def test_what_cannot_go_through_redis_is_in_a_file_for_another_process(tmp_path: Path) -> None:
    """Without Redis and without SQLAlchemy there is only the disk; accepted is accepted."""
    answer = Answer(
        SymbolSentiment("news", "AAPL", 24, 0.5, 1, 1, 0, 0, utc_now(), True, None, "x/1"),
        ((Item("1", utc_now(), "up"), 0.5),),
    )
    spill = Spill(tmp_path / "data" / "spill")
    Handover(spill).accept(answer)
    (file,) = spill.files()
    assert spill.read(file) == [answer]


def test_who_has_no_sqlalchemy_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outbox that wrote itself would fail at the first answer."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert isinstance(get_outbox(), Handover)


# What is said where an extra is missing

_COMMANDS = """
import contextlib
from tbcache.cli import main
for words in (["up", "--demo"], ["api"], ["simulator"], ["scheduler"], ["status"], []):
    with contextlib.redirect_stderr(sys.stdout):
        assert main(words) == 2
assert main(["--version"]) == 0
import scheduler.__main__, workers.__main__
sys.argv = ["x"]
with contextlib.redirect_stderr(sys.stdout):
    assert (scheduler.__main__.main(), workers.__main__.main()) == (2, 2)
for name in ("tbcache.api", "tbcache.embedded.simulator", "tbcache.SentimentRepository"):
    try:
        exec(f"from {name.rpartition('.')[0]} import {name.rpartition('.')[2]}")
    except ImportError as error:
        print(error)
import inspect, tbcache.asyncio
from tbcache import *
for module in (tbcache, tbcache.asyncio):
    assert dict(inspect.getmembers(module)).keys() >= {*module.__all__, "get_provider"}
    assert "SentimentRepository" not in module.__all__
import importlib, types
sys.modules["sqlalchemy"] = types.ModuleType("sqlalchemy")
assert "SentimentRepository" in importlib.reload(tbcache).__all__
"""


def test_what_is_missing_is_said_in_one_line_with_the_extra(server: Server, tmp_path: Path) -> None:
    """Whoever reads it knows what to type; a traceback that ends in "No module named" tells them not."""
    variables = {"REDIS_URL": server.url, "TBCACHE_PERSIST": "true", **PATIENT}
    lines = run_on_the_base(_COMMANDS, folder=tmp_path, **variables).splitlines()
    said = [line for line in lines if " needs " in line]
    database = "the database needs sqlalchemy: pip install 'tbcache[sql]'"
    assert said == [
        "tbcache: tbcache up needs fastapi, jinja2 and uvicorn: pip install 'tbcache[server]'",
        "tbcache: tbcache api needs fastapi, jinja2 and uvicorn: pip install 'tbcache[server]'",
        "tbcache: tbcache simulator needs fastapi and uvicorn: pip install 'tbcache[server]'",
        "tbcache: tbcache scheduler needs apscheduler: pip install 'tbcache[server]'",
        "tbcache: tbcache status needs rich and typer: pip install 'tbcache[server]'",
        "tbcache: tbcache needs rich and typer: pip install 'tbcache[server]'",
        "tbcache scheduler: the scheduler needs apscheduler: pip install 'tbcache[server]'",
        f"tbcache worker: {database}, or set TBCACHE_PERSIST=false",
        "tbcache.api needs fastapi and uvicorn: pip install 'tbcache[server]'",
        "tbcache.embedded.simulator needs fastapi and uvicorn: pip install 'tbcache[server]'",
        database,
    ]


def test_a_missing_extra_is_an_error_of_settings_and_of_an_import() -> None:
    """Both are caught by who tries one way and then the other; a copy from another process says the same."""
    error = MissingExtra("it", ["a", "b", "c"], "sql", "do without")
    assert isinstance(error, ConfigurationError)
    assert isinstance(error, ImportError)
    assert str(error) == "it needs a, b and c: pip install 'tbcache[sql]', or do without"
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (str(copy), copy.missing, copy.extra) == (str(error), ("a", "b", "c"), "sql")
