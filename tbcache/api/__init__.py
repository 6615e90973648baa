"""The HTTP API: what the fleet does, and how to clear its cache."""

from tbcache.api.app import create_app
from tbcache.api.server import serve

__all__ = ["create_app", "serve"]
