"""The slot that the job of this thread came with."""

from __future__ import annotations

import contextvars

#: "" where it has none, as where its answer is in the cache; None under a broker whose jobs bring none.
current_slot: contextvars.ContextVar[str | None] = contextvars.ContextVar("current_slot", default=None)
