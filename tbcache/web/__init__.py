"""A web server of ours on a socket of its own, and how it reads HTTP."""

from tbcache.web.server import WebServer, configure, inherit, listen

__all__ = ["WebServer", "configure", "inherit", "listen"]
