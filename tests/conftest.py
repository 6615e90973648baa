"""What every test stands on: a private server, settings of its own, no singletons left over.

A fixture here is for everyone. Tests import :class:`Server` and :func:`wait_until`
from ``tests.server``.
"""

from __future__ import annotations

import gc
import inspect
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tbcache.io.log import REPEATED
from tbcache.settings import Settings, forget_command_line, get_settings
from tbcache.store import Store, connection, fault
from tbcache.store.cluster import hash_slot
from tbcache.store.script import Script
from tests.driver import asyncio_below
from tests.postgres import Postgres, has_postgres
from tests.server import ClusterServer, Server

# Until all is collected, see below.
gc.disable()

#: Packages whose cached ``get_*()`` functions are the singletons of a process.
PACKAGES = ("tbcache", "workers", "scheduler")

TESTS = Path(__file__).parent

#: The files that take longer than their size says, the longest first; what starts many processes is not next
#: to its like.
LONG = (
    "browser/test_page.py",
    "cli/test_up.py",
    "api/test_document.py",
    "core/test_queue.py",
    "simulation/test_simulation.py",
    "test_workers.py",
    "test_fetcher.py",
    "test_bench.py",
    "browser/test_task.py",
    "core/test_many.py",
    "core/test_admission.py",
    "cli/test_process.py",
    "test_chaos.py",
    "test_readme.py",
    "test_testing.py",
    "test_asyncio_docs.py",
    "test_public_api.py",
    "simulator/test_replay.py",
    "core/test_rest.py",
    "test_tls.py",
    "test_docs.py",
    "api/test_server.py",
    "simulator/test_server.py",
    "test_prune.py",
    "test_pythons.py",
    "test_schema.py",
    "test_examples.py",
    "test_rolling.py",
    "test_actors_docs.py",
    "core/test_exact.py",
    "simulator/test_news.py",
    "core/test_fork.py",
    "core/test_rate_limiter.py",
    "api/test_head.py",
    "test_outbox.py",
    "tracing/test_processes.py",
    "tracing/test_telemetry.py",
    "cli/test_planted.py",
    "cli/test_rights.py",
    "clients/test_clients.py",
    "embedded/test_command.py",
)

#: Debian's, where it is installed.
REDIS_SERVER = shutil.which("redis-server")

#: Further functions with ``cache_clear``, named otherwise; a test module may append its own.
SINGLETONS: list[Any] = []

_LOOKED_AT: set[str] = set()
#: How many modules there were then, and which was imported last.
_LOOKED_UP_TO: tuple[int, str] = (0, "")
_GETTERS: dict[int, Any] = {}


@pytest.fixture(autouse=True)
def _own_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test starts as a fresh process on a fresh machine would: no settings of ours, an empty
    folder, no singletons, and nothing that other processes have left."""
    for name in list(os.environ):
        if name.startswith(("TBCACHE_", "REDIS_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    machine = tmp_path.with_name(f"{tmp_path.name}-machine")
    machine.mkdir()
    monkeypatch.setattr("tbcache.limiter.marker.root", lambda: machine / "tbcache")
    # Processes that the test starts look there: ports, and with them the names of fleets, come again.
    monkeypatch.setenv("TMPDIR", str(machine))
    monkeypatch.setenv("XDG_STATE_HOME", str(machine / "state"))
    _forget_singletons()
    REPEATED.forget()
    _look_at_modules()
    # Commands that ran in this process have set it.
    logging.getLogger("tbcache").setLevel(logging.NOTSET)
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield
    # A command logs to the stderr of its test, which is closed by now.
    for handler in {*root.handlers} - {*handlers}:
        root.removeHandler(handler)
    root.setLevel(level)
    _forget_singletons()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, then the largest: one that is left for the end has the other cores
    idle."""
    sizes = {path: path.stat().st_size for path in {item.path for item in items}}
    places = {TESTS / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: (places.get(item.path, len(LONG)), -sizes[item.path]))


def pytest_collection_finish() -> None:
    """What is imported and collected stays to the end. To look through it for garbage again and again would
    take two fifths of the collection's time, and a twentieth of the tests'."""
    gc.freeze()
    # By default the tests would spend another tenth of their time so: clients of Redis are circles.
    gc.set_threshold(10_000, 20, 20)
    gc.enable()
    # A file that declares a source as it is imported has read the settings, and a server that several tests
    # share may begin before the first test forgets them.
    get_settings.cache_clear()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked ``every_server`` run on each kind; those that kill it, on single servers only. Those that
    use ``every_driver`` run under each, the asyncio driver on one kind of server."""
    marked = metafunc.definition.get_closest_marker
    is_everywhere = marked("every_server") and not marked("one_server")
    redis = ["redis"] if REDIS_SERVER else []
    drivers = ["asyncio"] if "every_driver" in metafunc.fixturenames and not marked("one_driver") else []
    for fixture, kinds in (("server", ["valkey", "cluster"]), ("private_server", ["valkey"])):
        if fixture in metafunc.fixturenames and is_everywhere:
            served = [*kinds, *redis]
            if drivers:
                pairs = [*((kind, "blocking") for kind in served), *(("valkey", one) for one in drivers)]
                metafunc.parametrize((fixture, "every_driver"), pairs, indirect=True)
                drivers = []
            else:
                metafunc.parametrize(fixture, served, indirect=True)
    if drivers:
        metafunc.parametrize("every_driver", ["blocking", *drivers], indirect=True)


@pytest.fixture(autouse=True)
def _scripts_keep_to_one_hash_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster refuses a script whose keys lie in several: whatever a test runs must not."""
    run = Store.ask

    async def checked(self: Store, script: Script[Any, Any], call: Any) -> Any:
        count, *rest = script.pack(call)
        keys = [str(key) for key in rest[: int(count)]]
        # In a cluster each queue, and each source, is looked at by itself, and nothing is put back.
        is_of_several = script.name in ("look", "summary", "put_back", "merge")
        assert is_of_several or len({hash_slot(key) for key in keys}) == 1, f"{script.name}: {keys}"
        return await run(self, script, call)

    monkeypatch.setattr(Store, "ask", checked)


@pytest.fixture(autouse=True)
def broken_scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a server said of scripts that are wrong: nothing, or the test fails, however right its answers are
    without Redis. One that breaks a script clears the list."""
    found: list[str] = []

    def is_bug(error: Exception) -> bool:
        if is_wrong := fault.is_bug(error):
            found.append(str(error))
        return is_wrong

    monkeypatch.setattr(connection, "is_bug", is_bug)
    yield found
    assert not found


@pytest.fixture
def every_driver(request: pytest.FixtureRequest) -> Iterator[None]:
    """For a test of the core that goes through the public API: once under each driver."""
    if getattr(request, "param", "blocking") == "blocking":
        yield
    else:
        with asyncio_below():
            yield


@pytest.fixture(scope="session")
def _valkey() -> Iterator[Server]:
    server = Server(always_answers=True).start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def _redis() -> Iterator[Server]:
    server = Server(program=REDIS_SERVER, always_answers=True).start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def _cluster() -> Iterator[ClusterServer]:
    server = ClusterServer(always_answers=True).start()
    yield server
    server.close()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """An empty server; afterwards every key left behind must have a TTL. Do not kill this one."""
    kind = getattr(request, "param", "valkey")
    server: Server = request.getfixturevalue(f"_{kind}")
    server.flush()
    yield server
    _check_ttls(server)


@pytest.fixture
def private_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of the test's own, to kill, freeze and restart."""
    kind = getattr(request, "param", "valkey")
    server = Server(program=REDIS_SERVER if kind == "redis" else None).start()
    try:
        yield server
        if server.is_running:
            server.thaw()
            _check_ttls(server)
    finally:
        server.close()


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., Settings]:
    """Settings that point at a server: ``settings_for(private_server, TBCACHE_...="...")``."""

    def load(server: Server, **variables: str) -> Settings:
        return Settings.load({**server.variables, **variables}, data_dir=tmp_path / "data")

    return load


@pytest.fixture
def settings(server: Server, settings_for: Callable[..., Settings]) -> Settings:
    """Settings that point at ``server``, with everything else at its default."""
    return settings_for(server)


@pytest.fixture
def store_for(settings_for: Callable[..., Settings]) -> Iterator[Callable[..., Store]]:
    """Stores for a server, closed after the test: ``store_for(private_server)``."""
    stores: list[Store] = []

    def connect(server: Server, **variables: str) -> Store:
        stores.append(Store(settings_for(server, **variables)))
        return stores[-1]

    yield connect
    for store in stores:
        store.close()


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """A store on ``server``."""
    store = Store(settings)
    yield store
    store.close()


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


# Where no PostgreSQL is installed its dialect is still compiled, in test_repository.py.
@pytest.fixture(params=["sqlite", "postgresql"] if has_postgres() else ["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of the test's own."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'database' / 'tbcache.db'}"
    server: Postgres = request.getfixturevalue("_postgres")
    return server.new_database()


def _check_ttls(server: Server) -> None:
    if left := server.keys_without_ttl():
        pytest.fail(f"these keys would stay in Redis for ever: {', '.join(left)}")


def _forget_singletons() -> None:
    """Close and forget what the cached ``get_*()`` functions of our packages made."""
    functions = [*_cached_getters(), *SINGLETONS]
    made = [one() for one in functions if one.cache_info().currsize and not inspect.signature(one).parameters]
    # Heartbeats end first: a process that is over must not put its slots back into the next test's.
    # The store ends last: the others still use it.
    for end in ("leave", "close"):
        for singleton in sorted(made, key=lambda one: isinstance(one, Store)):
            getattr(singleton, end, lambda: None)()
    for function in functions:
        function.cache_clear()
    forget_command_line()


def _look_at_modules() -> None:
    """Remember the getters of the modules that are new, while no test has put anything in their place."""
    global _LOOKED_UP_TO
    for name, module in _new_modules():
        _LOOKED_AT.add(name)
        if name.startswith(PACKAGES):
            _GETTERS.update(_getters_of(module))
    _LOOKED_UP_TO = _imported()


def _cached_getters() -> list[Any]:
    found = dict(_GETTERS)
    for name, module in _new_modules():
        if name.startswith(PACKAGES):
            found.update(_getters_of(module))
    return list(found.values())


def _new_modules() -> list[tuple[str, ModuleType]]:
    """Those that no test before this one has imported; to look at all takes longer than a test."""
    if _imported() == _LOOKED_UP_TO:
        return []
    return [(name, sys.modules[name]) for name in sys.modules.keys() - _LOOKED_AT]


def _imported() -> tuple[int, str]:
    return len(sys.modules), next(reversed(sys.modules))


def _getters_of(module: ModuleType) -> dict[int, Any]:
    return {
        id(value): value
        for name, value in vars(module).items()
        if name.startswith("get_") and hasattr(value, "cache_clear")
    }
