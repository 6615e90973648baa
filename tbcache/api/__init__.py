"""The HTTP API: what the fleet does, and how to clear its cache."""

# ruff: noqa: E402 -- what is missing is said before it is imported
from tbcache.models.extra import need

need("tbcache.api", "fastapi", "uvicorn")

from tbcache.api.app import create_app
from tbcache.api.server import serve

__all__ = ["create_app", "serve"]
