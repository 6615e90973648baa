"""What is shipped for Prometheus and Grafana."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

FILES = Path(__file__).parents[1] / "charts" / "tbcache" / "files"
ALERTS = FILES / "alerts.yml"
DASHBOARD = FILES / "dashboard.json"
#: Debian's package `prometheus` has both; None where it is not installed.
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")


def expressions() -> list[tuple[str, str]]:
    """Each query of the dashboard, with the title of its panel."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", ())]
