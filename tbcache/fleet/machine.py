"""What a check-up finds on this machine: Python, what is installed, the data folder, the runtime file."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from tbcache.fleet.finding import Finding
from tbcache.io.private import Unsound, check_private
from tbcache.models.extra import MODULES, has
from tbcache.models.version import __version__
from tbcache.settings import Settings

#: With less room on its disk a data folder is about to be full (bytes).
LEAST_FREE = 200_000_000


def machine_findings(settings: Settings) -> Iterator[Finding]:
    """What is found without asking anybody."""
    yield Finding("ok", "python", f"tbcache {__version__} on Python {platform.python_version()}")
    yield from _extras(settings)
    yield from _folder(settings.data_dir)
    if settings.runtime_file_problem is not None:
        fix = "remove it, or start `tbcache up` here again"
        yield Finding("wrong", "settings", settings.runtime_file_problem, fix)


def _extras(settings: Settings) -> Iterator[Finding]:
    needed = dict(_needed(settings))
    for extra, modules in MODULES.items():
        missing = [module for module in modules if not has(module)]
        if extra in needed and missing:
            what = f"{needed[extra]} needs {', '.join(missing)}"
            yield Finding("wrong", "extras", what, f"pip install 'tbcache[{extra}]'")
    absent = [name for name, modules in MODULES.items() if not all(map(has, modules)) and name not in needed]
    yield Finding("ok", "extras", f"not installed, and not needed here: {', '.join(absent) or 'none'}")


def _needed(settings: Settings) -> Iterator[tuple[str, str]]:
    url = settings.database_url.get_secret_value() if settings.database_url is not None else ""
    if settings.persist:
        yield "sql", "TBCACHE_PERSIST"
    if url.startswith("postgres"):
        yield "postgres", "TBCACHE_DATABASE_URL"
    if settings.market is not None:
        yield "calendar", "TBCACHE_MARKET"
    if settings.classifier is not None:
        yield "onnx", "TBCACHE_CLASSIFIER"


def _folder(folder: Path) -> Iterator[Finding]:
    try:
        found = folder.stat()
    except FileNotFoundError:
        yield Finding("ok", "data folder", f"{folder} is not there yet: `tbcache up` makes it")
        return
    except OSError as error:
        yield Finding("wrong", "data folder", f"{folder}: {error.strerror}", "choose another --data-dir")
        return
    try:
        check_private(found, str(folder))
    except Unsound as error:
        fix = f"if all in it is yours, `chmod 700 {folder}`, else choose another --data-dir"
        yield Finding("wrong", "data folder", str(error), fix)
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("wrong", "data folder", f"{folder} cannot be written", f"`chmod 700 {folder}`")
        return
    free = shutil.disk_usage(folder).free
    what = f"{folder} is yours alone, with {free / 1e9:,.1f} GB free"
    if free < LEAST_FREE:
        yield Finding("wrong", "data folder", what, "make room on its disk")
    else:
        yield Finding("ok", "data folder", what)
