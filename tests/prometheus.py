"""``make prometheus``: a real Prometheus scrapes a demo, as two API processes would be scraped.

Every panel of the dashboard has data then, from one of the two, and every alert rule is evaluated. It takes
half a minute, so it is no part of each change's tests.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.cli.command import running_up
from tests.monitoring import ALERTS, PROMETHEUS, expressions
from tests.server import free_port, wait_until

# The first test waits for the demo and for Prometheus.
pytestmark = pytest.mark.timeout(300)

#: What Grafana puts in place of the variables of a dashboard.
VARIABLES = {"$job": "tbcache", "$source": ".+", "$__rate_interval": "20s", "$__range": "60s"}
JOB = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%s]
scrape_configs:
  - job_name: tbcache
    static_configs: [{targets: ["127.0.0.1:%d", "localhost:%d"]}]
"""


class Prometheus:
    """A running server, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=30)

    def ask(self, path: str, **params: str) -> Any:
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The values of an expression now."""
        found: list[dict[str, Any]] = self.ask("/query", query=expression)["result"]
        return found

    @property
    def is_ready(self) -> bool:
        try:
            # While it starts it answers 503.
            return self.http.get("/query").status_code != 503 and bool(self.query("min(up) == 1"))
        except httpx2.TransportError:
            return False


@contextmanager
def running(folder: Path, port: int) -> Iterator[Prometheus]:
    config, listen = folder / "prometheus.yml", free_port()
    config.write_text(JOB % (ALERTS, port, port))
    assert PROMETHEUS is not None
    command = [
        PROMETHEUS,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{listen}",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process, server = subprocess.Popen(command, stdout=log, stderr=log), Prometheus(listen)
        try:
            yield server
        finally:
            server.http.close()
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    settings = {"TBCACHE_TWITTER__DAILY_BUDGET": "20"}
    with running_up(folder / "data", "--demo", "--port", "0", **settings) as up:
        up.wait_for("all common symbols are warm", timeout=120)
        up.run("fetch", "twitter", "AAPL")
        port = int(re.findall(r"API at http://127\.0\.0\.1:(\d+)", up.said)[0])
        with running(folder, port) as server:
            wait_until(lambda: server.is_ready, 60)
            yield server


@pytest.mark.parametrize(("title", "expression"), expressions(), ids=str)
def test_every_panel_has_data(prometheus: Prometheus, title: str, expression: str) -> None:
    """A panel whose query is misspelt says "No data", as one of a quiet fleet does."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    wait_until(lambda: prometheus.query(expression), 60)
    found = prometheus.query(expression)
    # One of the two is taken, so that nothing counts twice.
    assert [one["metric"] for one in found if "instance" in one["metric"]] == []


def test_every_alert_rule_is_evaluated(prometheus: Prometheus) -> None:
    """A rule about a series that there is not never fires."""
    names = {one["alert"] for one in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]}

    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.ask("/rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] == "ok" for rule in rules()), 60)
    assert {rule["name"] for rule in rules()} == names
    assert [rule["name"] for rule in rules() if rule["state"] == "firing"] == []
    # What a rule compares is there, of each source that it is about.
    for rule in rules():
        for series in re.findall(r"tbcache_\w+(?:{[^}]*})?", rule["query"]):
            assert prometheus.query(series), series
