"""The clients that the ecosystem asks these APIs with, against the simulator.

`make clients` installs them into an environment of their own: some hold back what we depend on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.upstream import SimulatorProcess, running_simulator

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
#: As their real plans are; the limits that our own providers keep to are lower.
LIMITS = {"twitter": "450/15m", "reddit": "1000/10m", "stocktwits": "200/1h", "options": "120/1m"}
SECONDS = 200

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def clients() -> None:
    """Installs them where `make test` has not."""
    made = subprocess.run(
        ["make", "--silent", "-C", str(ROOT), "clients", f"PYTHON={sys.executable}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.fail(f"the clients cannot be installed; run `make clients` to see why\n{made.stderr[-2000:]}")


@pytest.fixture(scope="module")
def simulator(clients: None) -> Iterator[SimulatorProcess]:
    with running_simulator(limits=LIMITS, plans={"news": "paid"}) as running:
        yield running
        assert running.errors() == ""


def seen_by(name: str, simulator: SimulatorProcess) -> dict[str, Any]:
    """What the script of a client saw."""
    simulator.clear_faults()
    # Nothing of ours, and no proxy: it asks 127.0.0.1 and nobody else.
    env = {"PATH": os.environ["PATH"], "HOME": str(HERE), **simulator.variables}
    script = HERE / f"{name}_client.py"
    done = subprocess.run(
        [PYTHON, script, simulator.url], env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_tweepy(simulator: SimulatorProcess) -> None:
    """Pages, expansions, counts, and each of its errors by the right class."""
    seen = seen_by("tweepy", simulator)
    assert seen["posts"] == 100
    assert seen["joined"]
    assert seen["dated"]
    assert (seen["languages"], seen["retweets"]) == (["en"], 0)
    assert len(set(seen["ids"])) == len(seen["ids"]) == 300
    assert seen["counted"]
    assert seen["nothing"] is None
    assert any("missing ')'" in text for text in seen["unbalanced"])
    assert "401 Unauthorized" in seen["unauthorized"][0]
    assert "503 Service Unavailable" in seen["outage"][0]
    assert "429 Too Many Requests" in seen["limited"][0]


def test_twarc(simulator: SimulatorProcess) -> None:
    """It asks for all fields and expansions, pages to the end, and waits as the headers of a 429 say."""
    seen = seen_by("twarc", simulator)
    assert seen["pages"] > 3
    assert seen["unique"] == seen["posts"] > 300
    assert seen["authors"]
    assert seen["languages"] == ["en"]
    assert seen["kinds"] == ["quoted", "replied_to", "retweeted"]
    assert seen["referenced"] > 100
    assert seen["hours"] in (168, 169)
    assert seen["after_limit"] == [10, 10, 10]
    # Ten seconds more than the header says, and never more than a window.
    assert any(10 <= seconds <= 901 for seconds in seen["waits"])


def test_praw(simulator: SimulatorProcess) -> None:
    """Search to its depth, listings, comments, known posts, and when to come back."""
    seen = seen_by("praw", simulator)
    assert (seen["found"], seen["new"], seen["comments"]) == (250, 250, 120)
    assert seen["sorted"]
    assert seen["top"]
    assert (seen["stickies"], seen["hot"]) == (0, [True, True, False])
    assert seen["places"] == ["stocks", "wallstreetbets"]
    assert seen["bodies"]
    assert seen["info"]
    assert seen["remaining"] < 1000
    assert seen["wrong"] == 401
    assert seen["limited"] > 0


def test_newsapi(simulator: SimulatorProcess) -> None:
    """Its key goes bare into `Authorization`."""
    seen = seen_by("newsapi", simulator)
    assert seen["status"] == ["ok", "ok"]
    assert seen["articles"] == [20, 20]
    assert seen["total"] > 40
    assert seen["unique"]
    assert seen["titles"] > 40
    assert len(seen["headlines"]) == 10
    ids = {source["id"] for source in seen["sources"]}
    assert ids
    assert {article["source"]["id"] for article in seen["headlines"]} <= {*ids, None}
    assert (seen["wrong"], seen["exhausted"]) == ("apiKeyInvalid", "apiKeyExhausted")


def test_stocktwits_collector(simulator: SimulatorProcess) -> None:
    """It begins with `max=0&since=0` and pages back until its start."""
    seen = seen_by("stocktwits", simulator)
    assert seen["newest"] == 30
    assert seen["unique"] > 60
    assert seen["reaches"]
    assert seen["named"]
    assert seen["of_user"] == [seen["author"]]
    assert seen["labels"]
    assert set(seen["labels"]) <= {"Bearish", "Bullish"}
    assert seen["limited"] == "Unable to Return Request 429"


def test_unusualwhales(simulator: SimulatorProcess) -> None:
    """Each field it models is there, its filters filter, and its errors are the documented ones."""
    seen = seen_by("unusualwhales", simulator)
    assert seen["alerts"] == 50
    assert (seen["tickers"], seen["types"]) == (["NVDA"], ["call", "put"])
    assert seen["premiums"]
    # What came to the API after that client was written.
    assert seen["unread"] == ["iv_end", "iv_start"]
    assert len(seen["calls"]) == 40
    assert {row["type"] for row in seen["calls"]} == {"call"}
    assert {row["ticker"] for row in seen["calls"]} == {"NVDA", "TSLA"}
    assert all(int(row["total_premium"]) >= 100_000 for row in seen["calls"])
    assert seen["days"] == 5
    assert (seen["wrong"], seen["unknown"]) == (401, 404)
    assert "limit" in seen["too_many"]["msg"]
    assert seen["too_many"]["query"] == "limit=500"
