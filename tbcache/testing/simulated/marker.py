"""The markers of a simulated machine, in place of files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Said:
    """What the marker of a process says: its status, the sources that it uses, and since when it is over.

    Of a process that Redis has told no share: for how many seconds what it has sent may be in a window of
    each source, and when it last wrote that it is about to send.
    """

    status: str = "clean"
    used: set[str] = field(default_factory=set)
    over_at: float | None = None
    unheard: dict[str, float] = field(default_factory=dict)
    sent_at: float = 0.0


@dataclass(frozen=True)
class Disk:
    """The markers of a machine.

    ``now`` is the machine's clock in seconds, and ``is_living`` whether a process is there.
    """

    now: Callable[[], float]
    is_living: Callable[[str], bool]
    said: dict[str, Said] = field(default_factory=dict)


class Marker:
    """The marker of one process, as :class:`tbcache.limiter.marker.Marker` keeps it in a file."""

    def __init__(self, disk: Disk, member: str) -> None:
        self._disk, self._member = disk, member

    def begin(self) -> None:
        if self._member in self._disk.said:
            self._said.over_at = None

    def use(self, source: str) -> None:
        self._said.used.add(source)

    def set_clean(self) -> None:
        self._say("clean").unheard.clear()

    def set_fallback(self) -> bool:
        self._say("known")
        return True

    def set_unheard(self, source: str, seconds: float) -> bool:
        self.use(source)
        said = self._say("")
        said.unheard[source], said.sent_at = seconds, self._disk.now()
        return True

    def set_over(self) -> None:
        if self._member in self._disk.said:
            self._said.over_at = self._disk.now()

    def remove(self) -> None:
        self._disk.said.pop(self._member, None)

    @property
    def is_clean(self) -> bool:
        return self._member in self._disk.said and self._said.status == "clean"

    def is_alone(self, source: str, seconds: float) -> bool:
        # All are looked at, as each that is found to be over is marked so.
        quiet = [self._is_quiet(member, source, seconds) for member in self._others()]
        return all(quiet)

    def has_unheard(self, source: str, seconds: float) -> bool:
        others = [self._disk.said[member] for member in self._others()]
        return any(
            self._disk.now() - said.sent_at < max(seconds, said.unheard[source])
            for said in others
            if not said.status and source in said.unheard
        )

    @property
    def _said(self) -> Said:
        """What it says, from the first word on."""
        return self._disk.said.setdefault(self._member, Said())

    def _say(self, status: str) -> Said:
        said = self._said
        said.status, said.over_at = status, None
        return said

    def _others(self) -> list[str]:
        return [member for member in self._disk.said if member != self._member]

    def _is_quiet(self, member: str, source: str, seconds: float) -> bool:
        said = self._disk.said[member]
        if said.over_at is None and not self._disk.is_living(member):
            said.over_at = self._disk.now()
        is_old = said.over_at is not None and self._disk.now() - said.over_at >= seconds
        return source not in said.used or is_old
