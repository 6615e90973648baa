"""`make pythons`: a Python that is not there stops nobody, and a test that fails there is seen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import pythons


def test_a_python_that_is_not_at_hand_is_left_out_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody must install four Pythons to make a change."""
    assert pythons.main("3.99") == 0
    assert "Python 3.99 is not at hand" in capsys.readouterr().out


@pytest.mark.parametrize(("body", "code"), [("assert True", 0), ("assert False", 1)])
def test_a_failure_there_is_a_failure(
    body: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A check that cannot fail is worse than none."""
    (tmp_path / "test_it.py").write_text(f"def test_it() -> None:\n    {body}\n")
    monkeypatch.setattr(pythons, "TESTS", (str(tmp_path / "test_it.py"),))
    monkeypatch.setattr(pythons, "_find", lambda version: sys.executable)
    monkeypatch.setattr(pythons, "_environment", lambda version, interpreter: Path(sys.executable))
    assert pythons.main("3.99") == code
    assert ("failed on Python 3.99" in capfd.readouterr().err) is bool(code)
