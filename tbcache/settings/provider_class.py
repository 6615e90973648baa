"""The class of a user's own that asks a source: as the environment names it."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path

from tbcache.models.error import ConfigurationError, nearest

#: What a class must say itself of its source.
_METHODS = {"request": "request(fetch, cursor, since)", "parse": "parse(response)"}


def import_class(name: str, path: str) -> type:
    """The class ``MODULE:CLASS`` that source ``name`` is made of.

    Raises:
      ConfigurationError: it cannot be imported, is no class, or lacks what a provider must have.
    """
    module, _, attribute = path.partition(":")
    _look_in_working_folder()
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        near = nearest(attribute, vars(sys.modules[module])) if module in sys.modules else ""
        raise ConfigurationError(
            f"TBCACHE_SOURCES: {name}={path} cannot be imported ({error}){near}"
        ) from None
    if not isinstance(found, type):
        raise ConfigurationError(f"TBCACHE_SOURCES: {name}={path} is no class")
    abstract = getattr(found, "__abstractmethods__", ())
    lacking = [call for method, call in _METHODS.items() if method in abstract or not hasattr(found, method)]
    if lacking:
        raise ConfigurationError(
            f"TBCACHE_SOURCES: {name}={path} is no tbcache.Provider: it lacks {' and '.join(lacking)}"
        )
    return found


def _look_in_working_folder() -> None:
    """Let the user's own module be found in the working folder, after everything else.

    Not before the environment has named one: a library that tries to import what is not installed would
    take it from there as well, and the folder may be somebody else's repository.
    """
    # A process can outlive its working folder.
    with contextlib.suppress(FileNotFoundError):
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)
