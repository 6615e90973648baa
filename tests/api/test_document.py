"""The OpenAPI document is true: schemathesis asks what it allows, and much that it does not."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from tbcache.api import usage
from tbcache.api.error import KINDS
from tbcache.api.model import fleet as state
from tbcache.api.model import usage as figure
from tbcache.api.source import SourceDetail
from tbcache.fleet import FleetStatus, FleetUsage, LimitStatus, ServerStatus, SourceStatus
from tbcache.monitoring.figure import RecentMetrics, SourceMetrics
from tests.contract import READ_TOKEN, ROOT, TOKEN, ask, fleet, serving


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("contract")
    folder.chmod(0o700)
    with fleet(folder) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(variables: dict[str, str]) -> Iterator[str]:
    """The address of an API that wants a token."""
    with serving(**variables, TBCACHE_API_TOKEN=TOKEN, TBCACHE_API_READ_TOKEN=READ_TOKEN) as url:
        yield url


def test_what_is_answered_is_as_the_document_says(variables: dict[str, str]) -> None:
    """Clients are generated from it: a status, a body or a header that it does not have breaks them."""
    with serving(**variables) as url:
        assert ask(url, "--phases", "examples,coverage") == ""


def test_with_a_token_too_and_without_it_nothing_is_done(guarded: str) -> None:
    """Whoever shows none is refused as the document says, on every path that changes something."""
    shown = ("--header", f"Authorization: Bearer {TOKEN}")
    assert ask(guarded, "--phases", "examples", *shown) == ""
    assert ask(guarded, "--phases", "examples") == ""


EXAMPLES = [
    line.replace("\\\n", " ")
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "docs/api.md").read_text("utf-8"), re.DOTALL)
    for line in re.findall(r"^curl (?:.*\\\n)*.*$", block, re.MULTILINE)
]


def test_the_examples_of_the_page_run(guarded: str) -> None:
    """They are what is copied into a bot in another language."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    assert len(EXAMPLES) > 5
    found = {line: _run(line, guarded) for line in EXAMPLES}
    for line, answer in found.items():
        body = json.loads(answer.rpartition("\n\n")[2])
        is_error = isinstance(body, dict) and "status" in body
        assert is_error == ("twiter" in line), answer


def _run(line: str, url: str) -> str:
    chosen = {**os.environ, "API": url, "TOKEN": TOKEN}
    # A shell runs it as it stands on the page.
    return subprocess.run(["bash", "-c", line], env=chosen, capture_output=True, text=True, check=True).stdout


def test_the_kinds_of_errors_on_the_page_are_those_of_the_api() -> None:
    """A bot tells them apart by their types."""
    page = (ROOT / "docs/api.md").read_text("utf-8")
    rows = re.findall(r"^\| `/docs#([a-z-]+)` \| (\d+) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(kind.name, str(kind.status), kind.title) for kind in KINDS.values()]


#: Of the read model what stands elsewhere, or is of no use to a program.
ELSEWHERE = {
    "SourceStatus.kept": "GET /api/symbols",
    "RecentMetrics.source": "the key that it stands under",
    "SourceMetrics.source": "the key that it stands under",
    "FleetUsage.total": "total_requests_today and its neighbours",
}


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        (FleetStatus, state.FleetState),
        (SourceStatus, SourceDetail),
        (ServerStatus, state.Server),
        (FleetUsage, usage.Usage),
        (LimitStatus, state.LimitStatus),
        (RecentMetrics, figure.RecentUsage),
        (SourceMetrics, figure.SourceUsage),
    ],
)
def test_every_figure_of_the_read_model_is_told(figures: Any, told: type[BaseModel]) -> None:
    """What the command line prints and the page shows, a program can have."""
    fields = told.model_fields
    known = {*fields, *(field.validation_alias for field in fields.values())}
    missing = {f"{figures.__name__}.{one.name}" for one in dataclasses.fields(figures)} - {
        f"{figures.__name__}.{name}" for name in known
    }
    assert missing - ELSEWHERE.keys() == set()
