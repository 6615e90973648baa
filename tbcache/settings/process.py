"""The settings of this process: what its command line says goes before the environment."""

from __future__ import annotations

import os
from pathlib import Path

from tbcache.io.singleton import singleton
from tbcache.models.error import ConfigurationError
from tbcache.settings.folder import find_runtime_file
from tbcache.settings.model import BUILT_IN_NAMES, Settings
from tbcache.settings.variable import own_sources

_named: Path | None = None
_own_source = ""


def name_data_dir(folder: Path | None) -> None:
    """Have :func:`get_settings` read by this data folder, before the environment; None: by that alone.

    Raises:
      ConfigurationError: it was read by another one; what was made then, as the store, stays what it is.
    """
    global _named
    if get_settings.cache_info().currsize and not _is_same(folder, _named):
        raise ConfigurationError(
            f"this process goes by the data folder {get_settings().data_dir} already, and not by "
            f"{'what the environment says' if folder is None else folder}: use a process for each"
        )
    _named = folder


def _is_same(one: Path | None, other: Path | None) -> bool:
    """Whether two folders lead to the same fleet, however they are spelled."""
    if one is None or other is None:
        return one is other
    return find_runtime_file(one)[0].resolve() == find_runtime_file(other)[0].resolve()


def name_source(path: str) -> str:
    """Have :func:`get_settings` know the source of a ``MODULE:CLASS``, by the name that ``TBCACHE_SOURCES``
    has for it, else by its class's; the name."""
    global _own_source
    for name, known in own_sources(os.environ).items():
        if known == path:
            return name
    name = path.partition(":")[2].lower()
    name = f"my_{name}" if name in BUILT_IN_NAMES else name
    _own_source = f"{name}={path}"
    return name


def forget_command_line() -> None:
    """Go by the environment alone again, as at the start."""
    global _named, _own_source
    _named, _own_source = None, ""


@singleton
def get_settings() -> Settings:
    """The settings of this process, read at the first call."""
    return Settings.load(data_dir=_named, own_source=_own_source)
