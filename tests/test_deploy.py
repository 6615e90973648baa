"""The image and the compose file, as far as they can be proved without a container engine.

What the image installs is proved by tests/image.py.
"""

from __future__ import annotations

import http.server
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tbcache import cli
from tbcache.embedded.simulator.credential import demo_variables
from tbcache.io import utc_now
from tbcache.models.version import __version__
from tbcache.monitoring import UsageMonitor
from tbcache.settings import BUILT_IN_NAMES, FIELDS, Settings, get_sources
from tbcache.store import Store
from tests import readme
from tests.monitoring import PROMTOOL
from tests.server import Server

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
FLEET = {"worker", "scheduler", "api"}
WATCHING = {"prometheus", "grafana"}
DEMO = {"demo", "demo-worker", "demo-scheduler", "simulator"}


@dataclass(frozen=True)
class Step:
    """One instruction of the Dockerfile."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def stages() -> list[list[Step]]:
    """The instructions of the Dockerfile, by stage."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: list[list[Step]] = []
    for line in filter(None, joined.splitlines()):
        name, _, text = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Step(name, text.strip()))
    return found


BUILD, FINAL = stages()


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, **options)


# The compose file


def test_the_compose_file_has_every_part() -> None:
    """One command brings up the whole fleet; the demo's parts stay down unless asked for."""
    assert set(SERVICES) == {"redis"} | FLEET | DEMO | WATCHING
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if service.get("profiles")}
    assert profiles == {name: ["demo"] for name in DEMO} | {name: ["monitoring"] for name in WATCHING}


COMMANDS = {tuple(service["command"]) for service in OURS.values()}


@pytest.mark.parametrize("command", sorted(COMMANDS), ids=" ".join)
def test_each_command_of_the_compose_file_exists(command: tuple[str, ...]) -> None:
    """A container whose command is misspelt restarts for ever."""
    assert cli.main([*command, "--help"]) == 0


def test_what_the_compose_file_refers_to_exists() -> None:
    """Compose refuses the whole file for one missing name."""
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"], name
        for other in service.get("depends_on", []):
            assert set(SERVICES[other].get("profiles", [])) <= set(service.get("profiles", [])), name
        if "build" in service:
            assert (ROOT / service["build"] / "Dockerfile").is_file()
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert used == set(COMPOSE["volumes"])
    configs = [one["source"] for service in SERVICES.values() for one in service.get("configs", [])]
    assert sorted(configs) == sorted(COMPOSE["configs"])
    files = [one["file"] for one in COMPOSE["configs"].values() if "file" in one]
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_every_part_is_watched_restarted_and_given_time_to_stop() -> None:
    """An unattended fleet mends itself, and a stop loses no job in hand."""
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name
        assert re.fullmatch(r"\d+s", service["stop_grace_period"]), name
    for name in ("worker", "demo-worker"):
        assert int(SERVICES[name]["stop_grace_period"].rstrip("s")) > Settings.load({}).stop_seconds


def test_workers_can_be_scaled() -> None:
    """A name or a port of its own can be had by one container only."""
    for name in ("worker", "demo-worker"):
        assert not {"container_name", "ports", "hostname"} & set(SERVICES[name])
        assert "TBCACHE_WORKER_NAME" not in SERVICES[name]["environment"]


def test_only_the_api_is_published_and_only_to_this_machine() -> None:
    """An open Redis on a network is found within minutes."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    ends = {"api": ":8000", "demo": ":8000", "prometheus": ":9090", "grafana": ":3000"}
    assert set(published) == set(ends)
    for name, ports in published.items():
        assert all(port.startswith("127.0.0.1:") and port.endswith(ends[name]) for port in ports)


def test_prometheus_scrapes_both_fleets_with_their_tokens(tmp_path: Path) -> None:
    """Without its token it is refused, and its rules speak of nothing."""
    text = COMPOSE["configs"]["prometheus"]["content"]
    config = yaml.safe_load(text)
    (fleet, demo) = config["scrape_configs"]
    targets = [one["static_configs"][0]["targets"] for one in (fleet, demo)]
    assert targets == [["api:8000"], ["demo:8000"]]
    assert "TBCACHE_API_TOKEN" in fleet["authorization"]["credentials"]
    assert demo["authorization"]["credentials"] == SERVICES["demo"]["environment"]["TBCACHE_API_TOKEN"]
    mounted = {one["target"] for one in SERVICES["prometheus"]["configs"]}
    assert set(config["rule_files"]) <= mounted
    provider = yaml.safe_load(COMPOSE["configs"]["dashboards"]["content"])["providers"][0]
    (dashboard,) = [one for one in SERVICES["grafana"]["configs"] if one["source"] == "dashboard"]
    assert dashboard["target"].startswith(provider["options"]["path"])
    if PROMTOOL is not None:
        (tmp_path / "prometheus.yml").write_text(text)
        done = run([PROMTOOL, "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml")])
        assert done.returncode == 0, done.stderr


def test_our_parts_can_write_to_their_data_only() -> None:
    """What breaks into a part finds nothing to change and nothing to gain."""
    for name, service in OURS.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["environment"]["TBCACHE_DATA_DIR"] == "/data"
        assert [volume.partition(":")[2] for volume in service["volumes"]] == ["/data"]


def test_redis_keeps_the_queue() -> None:
    """A cache may evict; a queue that evicts loses jobs."""
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def test_every_variable_is_a_setting() -> None:
    """tbcache refuses a variable it does not know, so one typo here would stop every part."""
    fields = {f"TBCACHE_{field.upper()}" for field in FIELDS.settings}
    fields |= {field.upper() for field in FIELDS.settings if field.startswith("redis_")}
    fields |= {
        f"TBCACHE_{name.upper()}__{field.upper()}" for name in BUILT_IN_NAMES for field in FIELDS.source
    }
    for service in OURS.values():
        # OpenTelemetry's own are compared with the page about tracing.
        assert {name for name in service["environment"] if not name.startswith("OTEL_")} <= fields


#: Workers that are scaled have names of their own.
NOT_PASSED = {"TBCACHE_WORKER_NAME"}
#: Whose variable it is, where it is not every source's.
OF_ONE = {
    "BEARER_TOKEN": {"twitter"},
    "QUERY_FILTER": {"twitter"},
    "COUNTS_BUDGET": {"twitter"},
    "CLIENT_ID": {"reddit"},
    "CLIENT_SECRET": {"reddit"},
    "AUTH_URL": {"reddit"},
    "SUBREDDITS": {"reddit"},
    "DOMAINS": {"news"},
    "API_KEY": {"news", "options"},
    "ACCESS_TOKEN": {"stocktwits"},
}


def documented() -> set[str]:
    """Every variable that docs/settings.md names in a table."""
    plain = {row[0].strip("`") for row in readme.table("Variable | Default")}
    fields = {
        field for row in readme.table("Variable | Meaning") for field in re.findall(r"`__(\w+)`", row[0])
    }
    assert set(OF_ONE) <= fields
    return plain | {
        f"TBCACHE_{name.upper()}__{field}"
        for field in fields
        for name in OF_ONE.get(field, set(BUILT_IN_NAMES))
    }


def test_every_documented_variable_reaches_the_fleet() -> None:
    """What is set in the shell must work as it does without containers."""
    for name in FLEET:
        assert documented() - NOT_PASSED - set(SERVICES[name]["environment"]) == set()
        assert SERVICES[name]["env_file"] == [{"path": ".env", "required": False}]


def test_a_fleet_of_containers_goes_by_one_redis() -> None:
    """The bots beside it go by the same `.env`: an address that is ignored here makes two fleets of them."""
    given = SERVICES["worker"]["environment"]
    redis = {name: value for name, value in given.items() if name.startswith("REDIS_") and value is not None}
    assert redis == {"REDIS_HOST": "${REDIS_HOST:-redis}", "REDIS_CLUSTER": "${REDIS_CLUSTER:-false}"}
    assert Settings.load({"REDIS_HOST": "redis"}).redis == SERVICES["demo"]["environment"]["REDIS_URL"]


def test_the_containers_of_the_api_have_a_token() -> None:
    """To a container everyone is from outside: without one the API does not start."""
    assert SERVICES["demo"]["environment"]["TBCACHE_API_TOKEN"] == "demo-token-for-all-to-see"
    assert "TBCACHE_API_TOKEN" in SERVICES["api"]["environment"]


def test_the_demo_asks_the_simulator_and_nobody_else() -> None:
    """A demo that reached a real API would cost money; one that took the fleet's keys would mix them up."""
    expected = demo_variables("http://simulator:9000") | {"TBCACHE_NEWS__DELAY_HOURS": "0"}
    for name in DEMO:
        environment = SERVICES[name]["environment"]
        assert {key: environment.get(key) for key in expected} == expected
        assert "env_file" not in SERVICES[name]
        settings = Settings.load(environment)
        assert settings.namespace != Settings.load({}).namespace
        assert all(source.is_enabled for source in get_sources(settings).values())
    assert SERVICES["simulator"]["command"][-3:] == ["9000", "--plan", "news=paid"]


def probe(service: str, port: int = 0, **environ: str) -> int:
    """Run a service's health check, which asks ``port`` here, and return its exit code."""
    kind, program, *rest = SERVICES[service]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    rest = [re.sub(r"\b[89]000\b", str(port), word) for word in rest]
    return run([sys.executable, *rest], env={**os.environ, **environ}).returncode


def test_a_part_is_healthy_while_it_is_heard_of(server: Server, settings: Settings, store: Store) -> None:
    """A worker that hangs keeps its process; only its silence gives it away."""
    watched = ("worker", "scheduler", "demo-worker", "demo-scheduler")
    assert len({str(SERVICES[name]["healthcheck"]["test"]) for name in watched}) == 1
    assert probe("worker", REDIS_URL=server.url) == 1
    UsageMonitor(store, settings).beat("worker", started_at=utc_now())
    assert probe("worker", REDIS_URL=server.url) == 0


@pytest.mark.parametrize(("service", "path"), [("api", "/healthz"), ("simulator", "/_stats")])
def test_a_server_is_healthy_while_it_answers(service: str, path: str) -> None:
    """The check must fail when the server does, and must ask what the server has."""
    with answering(200) as (port, asked):
        assert probe(service, port, http_proxy="http://127.0.0.1:1") == 0
        assert asked == [path]
    with answering(500) as (port, asked):
        assert probe(service, port) == 1


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """A server that answers everything with ``status``, and the paths it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port, asked
        server.shutdown()
        thread.join()


# The chart


def test_the_chart_installs_the_version_that_it_lies_beside() -> None:
    """Its default tag is its appVersion: one that was left behind installs the release of before."""
    chart = yaml.safe_load((ROOT / "charts" / "tbcache" / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    assert chart["version"] == re.sub(r"\.(?=[a-z])", "-", __version__)


# The image


def test_the_image_runs_tbcache_as_nobody_in_particular() -> None:
    """Root in a container is one kernel bug from root on the machine."""
    names = [step.name for step in FINAL]
    user = next(step.text for step in FINAL if step.name == "USER")
    assert user not in ("root", "0")
    assert "RUN" not in names[names.index("USER") :]
    assert [step.text for step in FINAL if step.name == "ENTRYPOINT"] == ['["tbcache"]']
    assert [step.text for step in FINAL if step.name == "EXPOSE"] == ["8000"]


def test_the_image_checks_its_health_by_a_command_that_exists() -> None:
    """A check that always fails is worse than none."""
    check = next(step.text for step in FINAL if step.name == "HEALTHCHECK")
    program, *command = yaml.safe_load(check.partition("CMD ")[2])
    assert program == "tbcache"
    assert cli.main([*command, "--help"]) == 0


def test_no_build_tool_is_in_the_image() -> None:
    """What is not there cannot be exploited, and need not be updated."""
    assert BUILD[0].text.split()[0] == FINAL[0].text == "python:3.12-slim"
    assert not any(re.search(r"\b(pip|apt-get|uv)\b", step.text) for step in FINAL if step.name == "RUN")
    copied = [step.text for step in FINAL if step.name == "COPY"]
    assert copied == ["--from=build /opt/tbcache /opt/tbcache"]


def test_what_the_image_is_built_from_is_not_ignored() -> None:
    """The context is a list of what is let in, so a new folder must be let in too."""
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {source for step in BUILD if step.name == "COPY" for source in step.words[:-1]}
    assert sources == let_in
    assert all((ROOT / source).exists() for source in sources)


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the wheel, ``src`` that it is built from, and what it installs in ``site``."""
    root = tmp_path_factory.mktemp("wheel")
    (root / "src").mkdir()
    for step in BUILD:
        for source in step.words[:-1] if step.name == "COPY" else ():
            copy(ROOT / source, root / "src" / source)
    built = run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(root)], cwd=root / "src"
    )
    assert built.returncode == 0, built.stderr
    [made] = root.glob("tbcache-*.whl")
    with zipfile.ZipFile(made) as archive:
        archive.extractall(root / "site")
    yield root
    shutil.rmtree(root)


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def test_both_processes_run_from_the_wheel(wheel: Path, tmp_path: Path, server: Server) -> None:
    """They live under another name there, so an absolute import of `workers` would break only there."""
    names = [
        f"tbcache.processes.{name}" for name in ("workers.__main__", "workers.actor", "scheduler.__main__")
    ]
    # There are no folders of ours beside it there, as there are here.
    program = f"import sys; sys.modules.update(workers=None, scheduler=None); import {', '.join(names)}"
    done = run(
        [sys.executable, "-W", "error", "-c", f"{program}; print(tbcache.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "REDIS_URL": server.url, "PYTHONPATH": str(wheel / "site")},
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(wheel / "site")


def test_the_wheel_has_everything_and_claims_no_foreign_name(wheel: Path) -> None:
    """`workers` and `scheduler` are other distributions' names; the processes travel inside ours."""
    [made] = wheel.glob("tbcache-*.whl")
    with zipfile.ZipFile(made) as archive:
        files = set(archive.namelist())
    expected = {"tbcache/py.typed"}
    for folder, home in (
        ("tbcache", "tbcache"),
        ("workers", "tbcache/processes/workers"),
        ("scheduler", "tbcache/processes/scheduler"),
    ):
        for path in (wheel / "src" / folder).rglob("*"):
            if path.is_file():
                expected.add(f"{home}/{path.relative_to(wheel / 'src' / folder).as_posix()}")
    assert {
        "tbcache/lua/admit.lua",
        "tbcache/processes/workers/__main__.py",
        "tbcache/data/VADER_LICENSE.txt",
    } <= expected
    assert expected <= files
    tops = {name.partition("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tbcache"}
    assert not any("__pycache__" in name for name in files)
