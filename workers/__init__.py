"""The worker process: one actor per source, on a broker that paces.

Run it with ``tbcache worker``, or as any dramatiq module: ``dramatiq workers``.
"""

from __future__ import annotations

import dramatiq

from .actor import build_broker, declare_actors

broker = build_broker()
dramatiq.set_broker(broker)
actors = declare_actors(broker)

__all__ = ["actors", "broker"]
