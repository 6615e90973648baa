"""Where on the page a trouble is mended, and the button that does it, where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    def name(self) -> str:
        """The source, or the queue, that the button is about."""
        return self.trouble.name or ""

    @property
    def tone(self) -> Tone:
        return "bad" if self.trouble.is_bad else "fair"


def mends(status: FleetStatus) -> list[Mend]:
    """One for each trouble of the fleet."""
    # What is queued again now would be refused, or die again.
    held = {one.name: "it is failing" for one in status.sources if one.state == "failing"}
    drained = (one for one in status.all_queues if one.order and one.order.what == "drain")
    held |= {one.name: f"it is {one.order}" for one in drained}
    return [_mend(one, held) for one in status.troubles]


def tone_of(mends: Sequence[Mend]) -> Tone:
    """How bad the worst of them is, which is the first."""
    return mends[0].tone if mends else "good"


def _mend(trouble: Trouble, held: Mapping[str, str]) -> Mend:
    path, place = _where(trouble)
    name = trouble.name
    if name is None:
        return Mend(trouble, path, place)
    verb, label = _BUTTONS.get(trouble.kind, ("", ""))
    return Mend(trouble, path, place, verb, label, held.get(name, "") if verb == "requeue" else "")


def _where(trouble: Trouble) -> tuple[str, str]:
    if trouble.kind in _OF_PROCESSES:
        return "/processes", "who is there"
    # A queue of a user's own has no page.
    name = trouble.queue or (trouble.source if trouble.kind in _OF_QUEUES else None)
    if name is not None:
        return f"/jobs?source={name}", f"jobs of {name}"
    return (f"/source/{trouble.source}", trouble.source) if trouble.source else ("", "")
