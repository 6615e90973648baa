"""``make chart``: what the Helm chart renders to is what Kubernetes takes, and what tbcache understands.

Its tools are installed in an environment of their own, and are too large for every change.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tbcache import cli
from tbcache.settings import Settings
from tests.monitoring import ALERTS, DASHBOARD

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "tbcache"
PYTHON = ROOT / ".venv-chart" / "bin" / "python"


def render(**values: Any) -> dict[str, Any]:
    """What tests/chart_render.py says of the chart with these values."""
    done = subprocess.run(
        [PYTHON, ROOT / "tests" / "chart_render.py", CHART],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def documents(**values: Any) -> list[dict[str, Any]]:
    found = render(**values)
    assert (found["error"], found["problems"], found["lint"]["errors"]) == (None, [], [])
    documents: list[dict[str, Any]] = found["documents"]
    return documents


def of_kind(kind: str, found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those of one kind, by their part of the fleet."""
    part = "app.kubernetes.io/component"
    return {one["metadata"]["labels"].get(part, ""): one for one in found if one["kind"] == kind}


@pytest.fixture(scope="module")
def plain() -> list[dict[str, Any]]:
    return documents(
        settings={"TBCACHE_COMMON_SYMBOLS": "AAPL,NVDA", "TBCACHE_KEEP_DAYS": 30},
        worker={"sources": ["twitter"], "replicas": 3},
        imagePullSecrets=[{"name": "registry"}],
        nodeSelector={"disk": "ssd"},
        tolerations=[{"key": "spot", "operator": "Exists"}],
        affinity={"podAntiAffinity": {}},
        podAnnotations={"team": "quant"},
    )


@pytest.fixture(scope="module")
def scaled() -> list[dict[str, Any]]:
    return documents(worker={"autoscaling": {"enabled": True, "maxReplicas": 7}}, api={"replicas": 1})


def test_every_part_runs_a_command_that_exists(plain: list[dict[str, Any]]) -> None:
    """A pod whose command is misspelt restarts for ever."""
    deployments = of_kind("Deployment", plain)
    assert set(deployments) == {"worker", "scheduler", "api"}
    for one in deployments.values():
        (container,) = one["spec"]["template"]["spec"]["containers"]
        assert cli.main([*container["args"], "--help"]) == 0
    worker = deployments["worker"]["spec"]
    assert worker["replicas"] == 3
    assert worker["template"]["spec"]["containers"][0]["args"] == ["worker", "--threads", "8", "twitter"]


def test_the_settings_reach_every_part_and_are_settings(plain: list[dict[str, Any]]) -> None:
    """tbcache refuses a variable it does not know, so that one typo would stop the fleet."""
    for one in of_kind("Deployment", plain).values():
        (container,) = one["spec"]["template"]["spec"]["containers"]
        variables = {variable["name"]: variable["value"] for variable in container["env"]}
        settings = Settings.load(variables)
        assert (settings.common_symbols, settings.keep_days) == (("AAPL", "NVDA"), 30)
        assert str(settings.data_dir) in [mount["mountPath"] for mount in container["volumeMounts"]]
        assert container["envFrom"] == [{"secretRef": {"name": "tbcache"}}]


def test_a_pod_is_found_by_its_own_selectors_alone(plain: list[dict[str, Any]]) -> None:
    deployments = of_kind("Deployment", plain)
    selectors = {part: one["spec"]["selector"]["matchLabels"] for part, one in deployments.items()}
    for part, one in deployments.items():
        labels = one["spec"]["template"]["metadata"]["labels"].items()
        assert [name for name, selector in selectors.items() if selector.items() <= labels] == [part]
    assert of_kind("Service", plain)["api"]["spec"]["selector"] == selectors["api"]
    for part, one in of_kind("PodDisruptionBudget", plain).items():
        assert one["spec"]["selector"]["matchLabels"] == selectors[part]


def test_a_pod_may_write_nowhere_else_and_has_time_to_stop(plain: list[dict[str, Any]]) -> None:
    """A stop loses no job in hand."""
    for part, one in of_kind("Deployment", plain).items():
        pod = one["spec"]["template"]["spec"]
        context = pod["containers"][0]["securityContext"]
        assert (context["readOnlyRootFilesystem"], pod["securityContext"]["runAsNonRoot"]) == (True, True)
        assert pod["automountServiceAccountToken"] is False
        assert pod["containers"][0]["livenessProbe"]
        if part == "worker":
            assert pod["terminationGracePeriodSeconds"] > Settings.load({}).stop_seconds


def test_keda_scales_the_workers_by_how_many_are_wanted(scaled: list[dict[str, Any]]) -> None:
    """The metric is one that the API exposes, and its address that of the chart's own service."""
    worker = of_kind("Deployment", scaled)["worker"]
    assert "replicas" not in worker["spec"]
    scaler = of_kind("ScaledObject", scaled)["worker"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == worker["metadata"]["name"]
    assert (scaler["minReplicaCount"], scaler["maxReplicaCount"]) == (0, 7)
    (trigger,) = scaler["triggers"]
    service = of_kind("Service", scaled)["api"]["metadata"]["name"]
    assert trigger["metadata"]["url"] == f"http://{service}.trading.svc:80/metrics"
    (login,) = [one for one in scaled if one["kind"] == "TriggerAuthentication"]
    assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]
    assert set(of_kind("PodDisruptionBudget", scaled)) == {"scheduler"}


def test_the_operators_of_prometheus_and_grafana_find_what_is_for_them() -> None:
    """What they get is what promtool, and a real Prometheus, have tried."""
    labels = {"release": "prometheus"}
    switched_on = {"enabled": True, "labels": labels}
    found = documents(
        monitoring={"serviceMonitor": switched_on, "rules": switched_on, "dashboard": {"enabled": True}}
    )
    monitor = of_kind("ServiceMonitor", found)["api"]
    assert labels.items() <= monitor["metadata"]["labels"].items()
    service = of_kind("Service", found)["api"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    (rules,) = of_kind("PrometheusRule", found).values()
    assert rules["spec"] == yaml.safe_load(ALERTS.read_text())
    (dashboard,) = of_kind("ConfigMap", found).values()
    assert json.loads(dashboard["data"]["tbcache.json"]) == json.loads(DASHBOARD.read_text())
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"TBCACHE_API_TOKEN": "x"}},
        {"settings": {"TBCACHE_TWITTER__BEARER_TOKEN": "x"}},
        {"settings": {"REDIS_URL": "redis://:secret@redis/0"}},
        {"settings": {"PATH": "x"}},
        {"worker": {"replcias": 3}},
        {"worker": {"threads": 0}},
        {"existingSecret": ""},
        {"monitoring": {"serviceMonitor": {"interval": "soon"}}},
    ],
    ids=str,
)
def test_a_value_that_is_misspelt_or_secret_is_refused(values: dict[str, Any]) -> None:
    """A secret among the values would stand in the release's history."""
    assert render(**values)["error"]
