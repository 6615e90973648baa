"""The alert rules and the dashboard speak of metrics that there are, and do what they say."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml

from tbcache.api.metrics import METRICS
from tbcache.fleet import FleetTrouble, ServerTrouble, State
from tests.monitoring import ALERTS, DASHBOARD, PROMTOOL, expressions

ROOT = Path(__file__).parents[1]
RULE_TESTS = ROOT / "tests" / "data" / "alerts_test.yml"
RULES = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]


def words(label: str, text: str) -> set[str]:
    """The values that the selectors in ``text`` compare a label with."""
    found = re.findall(rf'\b{label}(?:=|!=|=~|!~)"([^"$]+)"', text)
    return {word for values in found for word in values.split("|")}


def test_rules_dashboard_and_page_name_metrics_that_there_are() -> None:
    """A rule about a metric that was renamed never fires, and nobody notices until it should have."""
    names = {f"{one.name}{end}" for one in METRICS for end in ("", "_bucket", "_sum", "_count")}
    texts = [ALERTS.read_text(), RULE_TESTS.read_text(), *(text for _, text in expressions())]
    texts += [path.read_text() for path in (ROOT / "docs").glob("*.md")]
    named = {name for text in texts for name in re.findall(r"\btbcache_[a-z_]+\b", text)}
    assert len(named) > 25
    assert named - names == set()


def test_rules_and_dashboard_name_labels_and_words_that_there_are() -> None:
    """A kind or a state that is misspelt selects nothing."""
    text = " ".join((ALERTS.read_text(), RULE_TESTS.read_text(), *(text for _, text in expressions())))
    kinds = {
        *get_args(ServerTrouble),
        *get_args(FleetTrouble),
        "timeout",
        "not_found",
        "unavailable",
        "error",
    }
    assert words("kind", text) <= kinds
    assert words("outcome", text) <= {"hit", "stale", "miss", "failed", "prewarm"}
    assert words("state", text) <= {*get_args(State), "dead"}
    labels = {label for one in METRICS for label in one.labels} | {
        "job",
        "le",
        "instance",
        "pod",
        "alertstate",
    }
    grouped = re.findall(r"\b(?:by|without|on) \(([^)]*)\)", text)
    assert {label.strip() for group in grouped for label in group.split(",")} <= labels | {"alertname"}


def test_every_rule_is_tested() -> None:
    """A rule that never fired in a test may be one that cannot."""
    said = RULE_TESTS.read_text()
    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}"' not in said] == []


@pytest.mark.skipif(PROMTOOL is None, reason="Debian's package `prometheus` is not installed")
@pytest.mark.parametrize("command", [("check", "rules", ALERTS), ("test", "rules", RULE_TESTS)], ids=str)
def test_promtool_accepts_the_rules_and_their_tests_hold(command: tuple[str | Path, ...]) -> None:
    """Each fires after its time and not before, and with two API processes as with one."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_panel_lies_on_another() -> None:
    """Grafana moves a panel that lies on another, and the page looks different on each load."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        for cell in (
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]
            assert cell[0] < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
