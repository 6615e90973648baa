"""Where on the page a trouble is mended, and the button that does it, where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tbcache.api.page.row import Tone
from tbcache.fleet import FleetStatus, Trouble

#: Those that are mended elsewhere than on the page of their source.
_OF_QUEUES = ("dead_letters", "unserved", "backlog")
_OF_PROCESSES = ("no_worker", "no_scheduler", "lost", "other_layout")
#: The verb of each button, and what stands on it.
_BUTTONS = {
    "closed": ("reopen", "Reopen"),
    "paused": ("resume", "Resume"),
    "dead_letters": ("requeue", "Queue again"),
}
#: What is held up, or over, and gets no worse while nobody does anything.
_FAIR = ("paused", "budget", "backlog", "plan", "dead_letters", "drift")


@dataclass(frozen=True, slots=True)
class Mend:
    """A trouble; the path where it is mended, and what that is called; the verb that does it and its label;
    and why that cannot be done now: each empty for none. ``tone`` is how bad it is."""

    trouble: Trouble
    path: str
    place: str
    verb: str = ""
    label: str = ""
    why: str = ""

    @property
    def tone(self) -> Tone:
        return "fair" if self.trouble.kind in _FAIR else "bad"


def mends(status: FleetStatus) -> Iterator[Mend]:
    """One for each trouble of the fleet."""
    drained = {
        one.name: f"it is {one.order}" for one in status.sources if one.order and one.order.what == "drain"
    }
    for trouble in status.troubles:
        path, place = _where(trouble)
        if trouble.source is None:
            yield Mend(trouble, path, place)
        else:
            verb, label = _BUTTONS.get(trouble.kind, ("", ""))
            why = drained.get(trouble.source, "") if verb == "requeue" else ""
            yield Mend(trouble, path, place, verb, label, why)


def _where(trouble: Trouble) -> tuple[str, str]:
    if trouble.kind in _OF_PROCESSES:
        return "/processes", "who is there"
    # What no source has is of a queue of a user's own, which has no page.
    if trouble.source is None:
        return ("/jobs", "the queues") if trouble.kind in (*_OF_QUEUES, "paused") else ("", "")
    if trouble.kind in _OF_QUEUES:
        return f"/jobs?source={trouble.source}", f"jobs of {trouble.source}"
    return f"/source/{trouble.source}", trouble.source
