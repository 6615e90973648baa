"""docs/simulator.md says what there is, and all of it."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

from tbcache.cli import process
from tbcache.embedded.simulator import create_app
from tbcache.embedded.simulator.fault import Fault

TEXT = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text("utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Options that every command has, and one that only `tbcache up` passes.
_OTHERS = {"fd", "data_dir"}


def _names(heading: str) -> set[str]:
    """What stands in backticks in the first column of the table headed ``heading``."""
    table = TEXT.partition(f"| {heading} |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    return {code.split()[0] for row in rows for code in re.findall(r"`([^`]+)`", row)}


def test_every_option_and_every_fault_is_documented() -> None:
    """What nobody can find is not there."""
    options = {
        name.replace("_", "-")
        for name in inspect.signature(process.simulator).parameters
        if name not in _OTHERS
    }
    assert _names("Option") == {f"--{name}" for name in options}
    assert _names("Fault") == set(Fault.model_fields)


def test_the_faults_that_are_shown_are_some() -> None:
    """An example that is copied and refused costs more than none."""
    (faults,) = [json.loads(text) for language, text in _BLOCK.findall(TEXT) if language == "json"]
    assert faults
    create_app(faults=faults)
