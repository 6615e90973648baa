"""The promise: what is public, where it can be imported from, and how it is called."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tbcache
import tbcache.asyncio
from tbcache.api import create_app
from tbcache.cache import CacheManager, cached, get_cache_manager
from tbcache.models import Outcome, RateLimitStatus
from tbcache.models import error as errors
from tbcache.monitoring import SourceMetrics, UsageMonitor, get_usage_monitor
from tbcache.providers import Provider, get_provider
from tbcache.queue import enqueue
from tbcache.rate_limiter import RateLimiter, get_rate_limiter
from tbcache.settings import AGGREGATED_TTL, BUILT_IN, HISTORICAL_TTL, REAL_TIME_TTL, STATIC_TTL, Settings

ROOT = Path(__file__).parents[1]


# Names


def test_all_names_what_can_be_imported_and_nothing_else() -> None:
    """`__all__` is the promise: a name that is missing there, or here, is broken for someone."""
    assert tbcache.__all__ == sorted(tbcache.__all__)
    assert set(tbcache._HOME) <= {*tbcache.__all__, "__version__"}
    for name in tbcache.__all__:
        assert getattr(tbcache, name).__name__ == name
    assert set(tbcache.__all__) <= set(dir(tbcache))


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    """Lazy names are written down twice; the copies must agree."""
    source = Path(tbcache.__file__).read_text()
    block = source[source.index("if TYPE_CHECKING:") : source.index("_HOME = ")]
    seen = {
        name: module
        for module, names in re.findall(r"from tbcache\.([\w.]+) import (\([^)]*\)|[^\n]*)", block)
        for name in re.findall(r"\w+", names.partition(" as ")[0])
    }
    assert seen == {name: home(name) for name in (*tbcache.__all__, "__version__")}


def home(name: str) -> str:
    return tbcache._HOME.get(name, "models.error")


@pytest.mark.parametrize("name", tbcache.__all__)
def test_each_public_name_is_documented(name: str) -> None:
    """Who meets it in an editor learns what it gives and what can go wrong."""
    assert inspect.getdoc(getattr(tbcache, name))


@pytest.mark.parametrize(
    "owner", [CacheManager, RateLimiter, UsageMonitor, Provider, Settings, tbcache.Handle]
)
def test_each_public_method_with_arguments_is_documented(owner: type) -> None:
    """The seed's methods are the ones most often called."""
    methods = [
        method
        for name, method in vars(owner).items()
        if not name.startswith("_")
        and inspect.isfunction(method)
        and len(inspect.signature(method).parameters) > 1
    ]
    assert methods
    assert [method.__qualname__ for method in methods if not method.__doc__] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    """`hasattr` and `from tbcache import ...` depend on that kind."""
    assert not hasattr(tbcache, "get_everything")


def test_every_error_is_public_and_in_the_tree_of_its_module() -> None:
    """Who catches TbcacheError misses none, and the drawing is the map people read."""
    found = {name: one for name, one in vars(errors).items() if isinstance(one, type)}
    ours = {name for name, one in found.items() if issubclass(one, errors.TbcacheError)}
    public = {name for name in tbcache.__all__ if home(name) == "models.error"}
    assert ours == public - {"TbcacheWarning"}
    assert drawn_tree() == {name: found[name].__mro__[1].__name__ for name in ours - {"TbcacheError"}}


def drawn_tree() -> dict[str, str]:
    """Of each error in the drawing its parent: the nearest above it that stands further to the left."""
    above: dict[int, str] = {0: "TbcacheError"}
    parents = {}
    for branch, name in re.findall(r"^([│ ]*[├└]── )(\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(branch) // 4
        above[depth], parents[name] = name, above[depth - 1]
    return parents


def test_the_version_is_the_distributions() -> None:
    """A bug report names one version, not two."""
    assert f'version = "{tbcache.__version__}"' in (ROOT / "pyproject.toml").read_text()
    # What is being made has no heading of its own yet.
    heading = "Unreleased" if ".dev" in tbcache.__version__ else tbcache.__version__
    assert f"## [{heading}]" in (ROOT / "CHANGELOG.md").read_text()


# The seed API, to the letter


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("cache", "get_cache_manager"),
        ("cache", "cached"),
        ("cache", "CacheManager"),
        ("rate_limiter", "get_rate_limiter"),
        ("rate_limiter", "RateLimiter"),
        ("rate_limiter", "RateLimitStatus"),
        ("monitoring", "get_usage_monitor"),
        ("monitoring", "UsageMonitor"),
        ("queue", "enqueue"),
        ("providers", "get_provider"),
    ],
)
def test_seed_names_come_from_their_modules_as_well(module: str, name: str) -> None:
    """Bots written for the seed pattern import them from there."""
    assert getattr(importlib.import_module(f"tbcache.{module}"), name) is getattr(tbcache, name)


@pytest.mark.parametrize(
    ("function", "seed"),
    [
        (get_cache_manager, lambda: ...),
        (CacheManager.get, lambda self, key: ...),
        (CacheManager.set, lambda self, key, value, ttl=None: ...),
        (CacheManager.exists, lambda self, key: ...),
        (CacheManager.delete, lambda self, key: ...),
        (CacheManager.clear_pattern, lambda self, pattern: ...),
        (CacheManager.get_ttl, lambda self, key: ...),
        (cached, lambda function=None, /, *, ttl=None, key_prefix=None: ...),
        (get_rate_limiter, lambda source: ...),
        (RateLimiter.check_rate_limit, lambda self, limit=None, window_seconds=None: ...),
        (RateLimiter.wait_if_needed, lambda self, limit=None, window_seconds=None, *, max_wait=None: ...),
        (RateLimiter.get_status, lambda self, limit=None, window_seconds=None: ...),
        (RateLimiter.reset, lambda self: ...),
        (get_usage_monitor, lambda: ...),
        (UsageMonitor.record_request, lambda self, source, success=True, cached=False, cost=0.0: ...),
        (UsageMonitor.get_source_metrics, lambda self, source: ...),
        (UsageMonitor.get_usage_summary, lambda self: ...),
        (get_provider, lambda name: ...),
        (Provider.fetch, lambda self, symbol, hours=24: ...),
        (Provider.get_sentiment, lambda self, symbol, hours=24: ...),
        (Provider.parse, lambda self, response: ...),
        (enqueue, lambda source, symbol, hours=24: ...),
        (tbcache.Handle.result, lambda self, timeout=None: ...),
    ],
)
def test_seed_signatures_are_kept(function: Callable[..., Any], seed: Callable[..., Any]) -> None:
    """A call that worked with the seed pattern works; what we add comes after and is optional."""
    kept = list(inspect.signature(function).parameters.values())
    wanted = list(inspect.signature(seed).parameters.values())
    found = [one.replace(annotation=inspect.Parameter.empty) for one in kept]
    assert found[: len(wanted)] == wanted
    assert all(one.default is not one.empty for one in found[len(wanted) :])


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (RateLimitStatus, "source allowed used remaining reset_at is_limited"),
        (SourceMetrics, "requests_today cache_hit_rate cost_today"),
        (Outcome, "request sentiment origin as_of age complete covered_hours error"),
    ],
)
def test_seed_results_have_their_fields(kind: type, fields: str) -> None:
    """Field names are as much of the promise as functions."""
    assert [name for name in fields.split() if not hasattr(kind, name)] == []


def test_providers_have_the_attributes_of_the_seed() -> None:
    """Bots replace these tools by name."""
    provider = get_provider("stocktwits")
    for name in ("client", "analyzer", "cache", "rate_limiter", "usage_monitor", "repository"):
        assert getattr(provider, name) is getattr(provider, name)
    assert (provider.cache_ttl, provider.persist_to_db) == (300.0, True)


def test_seed_figures_are_the_defaults() -> None:
    """Limits and TTLs of the seed hold until somebody sets others."""
    limits = {
        name: [(one.count, one.window_seconds) for one in source.limits] for name, source in BUILT_IN.items()
    }
    assert limits == {
        "twitter": [(300, 900)],
        "reddit": [(60, 60)],
        "news": [(100, 60)],
        "options": [(100, 60)],
        "stocktwits": [(60, 60)],
    }
    assert (REAL_TIME_TTL, HISTORICAL_TTL, AGGREGATED_TTL, STATIC_TTL) == (300, 3600, 600, 86400)
    assert Settings.load({}).namespace == "trading_bot"


def test_the_usage_summary_has_the_seeds_figures() -> None:
    """Dashboards read it by these names; without Redis it still answers."""
    assert {"total_requests_today", "average_cache_hit_rate"} <= set(get_usage_monitor().get_usage_summary())


def test_http_has_the_seeds_paths() -> None:
    """Dashboards and scripts ask for these."""
    paths = create_app(Settings.load({})).openapi()["paths"]
    wanted = {
        "/api/monitoring/cache/status": "get",
        "/api/monitoring/rate-limits": "get",
        "/api/monitoring/usage": "get",
        "/api/monitoring/cache/clear": "post",
    }
    assert {path: method for path, method in wanted.items() if method in paths.get(path, {})} == wanted


# Types


def test_both_kinds_of_type_checkers_are_told_what_the_awaited_api_exports() -> None:
    """Each of them reads the list of another module in words of its own; pyright is not at hand."""
    source = Path(tbcache.asyncio.__file__).read_text()
    assert "\nfrom tbcache import __all__ as __all__\n" in source
    assert "\n__all__ = tbcache.__all__\n" in source


def test_calls_of_users_type_check_strictly() -> None:
    """`py.typed` ships: what an editor infers from our annotations is part of the promise."""
    command = [sys.executable, "-m", "mypy", "tests/typing/api.py"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (ROOT / "tbcache" / "py.typed").exists()


def test_a_library_says_nothing_unless_asked(capfd: pytest.CaptureFixture[str]) -> None:
    """A bot's own output is the bot's: our warnings go to its logging, or nowhere."""
    code = "from tbcache.io import log; log.get_logger('tbcache.x').warning('fetch.failed', why='x')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert capfd.readouterr() == ("", "")
