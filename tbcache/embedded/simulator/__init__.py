"""Simulates the five upstream APIs on this machine, for demos and tests.

One port serves all of them under ``/twitter``, ``/reddit``, ``/news``, ``/options`` and ``/stocktwits``. Each
behaves like the real API in its authentication, pages, headers, errors and prices. Limits count arrivals in a
strict sliding window, those of X in a fixed one, as X does; the figures are always those of a sliding window.
``GET /_stats`` shows what arrived, ``POST /_faults`` makes things go wrong.
"""

# ruff: noqa: E402 -- what is missing is said before it is imported
from tbcache.models.extra import need

need("tbcache.embedded.simulator", "fastapi", "uvicorn")

from tbcache.embedded.simulator.app import Simulator, create_app
from tbcache.embedded.simulator.credential import DEMO_CREDENTIALS, demo_variables
from tbcache.embedded.simulator.server import serve

__all__ = ["DEMO_CREDENTIALS", "Simulator", "create_app", "demo_variables", "serve"]
