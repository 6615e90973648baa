"""The commands that start programs of ours as processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tbcache.embedded.program import Program
from tbcache.models.error import ConfigurationError

_PACKAGE = Path(__file__).resolve().parents[1]


def process_program(
    name: str,
    process: Literal["workers", "scheduler"],
    arguments: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Program:
    """The program that runs a worker or the scheduler.

    Raises:
      ConfigurationError: this installation lacks it.
    """
    module, root = _find(process)
    return _program(name, module, arguments, variables or {}, log, stage=2, root=root)


def python_program(
    name: str,
    arguments: tuple[str, ...],
    variables: Mapping[str, str] | None = None,
    log: Path | None = None,
    stage: int = 2,
) -> Program:
    """The program that runs ``tbcache ARGUMENTS``."""
    return _program(name, "tbcache", arguments, variables or {}, log, stage=stage, root=None)


def _program(
    name: str,
    module: str,
    arguments: tuple[str, ...],
    variables: Mapping[str, str],
    log: Path | None,
    *,
    stage: int,
    root: Path | None,
) -> Program:
    # With -P Python does not import `workers`, or any other module, from the working folder.
    command = (sys.executable, "-P", "-m", module, *arguments)
    paths = [str(root) if root else "", os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(entry for entry in paths if entry)
    return Program(name, command, {**os.environ, **variables, "PYTHONPATH": path}, log, stage)


def _find(process: str) -> tuple[str, Path | None]:
    """The module of a process, and the folder to import it from.

    In the wheel the process is inside the package, in a checkout beside it. Other distributions install a
    package ``workers`` too, so the name alone would not do.
    """
    if (_PACKAGE / "processes" / process / "__main__.py").is_file():
        return f"tbcache.processes.{process}", None
    if (_PACKAGE.parent / process / "__main__.py").is_file():
        return process, _PACKAGE.parent
    raise ConfigurationError(
        f"this installation of tbcache lacks its process {process!r} (looked in {_PACKAGE / 'processes'} "
        f"and {_PACKAGE.parent}); install tbcache again"
    )
