"""A faithful local stand-in for the five upstream APIs, for demos and tests.

One port serves all of them under ``/twitter``, ``/reddit``, ``/news``, ``/options``
and ``/stocktwits``, each as the real one answers: authentication, pages, headers,
errors, prices. Limits are enforced by arrival, in a strict sliding window; X's in a
fixed one, as X does. Whichever it is, the figures tell what a sliding one saw.
``GET /_stats`` says what arrived, ``POST /_faults`` makes things go wrong.
"""

# ruff: noqa: E402 -- what is missing is said before it is imported
from tbcache.models.extra import need

need("tbcache.embedded.simulator", "fastapi", "uvicorn")

from tbcache.embedded.simulator.app import Simulator, create_app
from tbcache.embedded.simulator.credential import DEMO_CREDENTIALS, demo_variables
from tbcache.embedded.simulator.server import serve

__all__ = ["DEMO_CREDENTIALS", "Simulator", "create_app", "demo_variables", "serve"]
