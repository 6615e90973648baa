"""In which state a queued job can be."""

from __future__ import annotations

from typing import Literal

#: running: a worker has it. waiting: in a lane, for a thread and for its limit. delayed: put off until it is
#: due. follows: it comes after a running job of the same fetch.
JobState = Literal["running", "waiting", "delayed", "follows"]
