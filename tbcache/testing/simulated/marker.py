"""The markers of a simulated machine, in place of files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Disk:
    """The markers of a machine: what each says, and since when its process is over.

    ``now`` is the machine's clock in seconds, and ``is_living`` whether a process is there.
    """

    now: Callable[[], float]
    is_living: Callable[[str], bool]
    said: dict[str, tuple[str, float | None]] = field(default_factory=dict)
    #: When each that Redis has told no share has last written that it is about to send, and for how many
    #: seconds that may be in a window of each source.
    sent_at: dict[str, float] = field(default_factory=dict)
    unheard: dict[str, dict[str, float]] = field(default_factory=dict)


class Marker:
    """The marker of one process, as :class:`tbcache.limiter.marker.Marker` keeps it in a file."""

    def __init__(self, disk: Disk, member: str) -> None:
        self._disk, self._member = disk, member

    def set_clean(self) -> None:
        self._disk.said[self._member] = "clean", None
        self._disk.unheard.pop(self._member, None)

    def set_fallback(self) -> bool:
        self._disk.said[self._member] = "known", None
        return True

    def set_unheard(self, source: str, seconds: float) -> bool:
        self._disk.said[self._member] = "", None
        self._disk.sent_at[self._member] = self._disk.now()
        self._disk.unheard.setdefault(self._member, {})[source] = seconds
        return True

    def set_over(self) -> None:
        if self._member in self._disk.said:
            self._disk.said[self._member] = self._disk.said[self._member][0], self._disk.now()

    def remove(self) -> None:
        self._disk.said.pop(self._member, None)

    @property
    def is_clean(self) -> bool:
        return self._disk.said.get(self._member, ("", None))[0] == "clean"

    def is_alone(self, seconds: float) -> bool:
        # All are looked at, as each that is found to be over is marked so.
        quiet = [self._is_quiet(member, seconds) for member in self._disk.said if member != self._member]
        return all(quiet)

    def has_unheard(self, source: str, seconds: float) -> bool:
        return any(
            self._disk.now() - self._disk.sent_at[member] < max(seconds, self._disk.unheard[member][source])
            for member, (said, _) in self._disk.said.items()
            if member != self._member and not said and source in self._disk.unheard[member]
        )

    def _is_quiet(self, member: str, seconds: float) -> bool:
        said, over_at = self._disk.said[member]
        if over_at is None and not self._disk.is_living(member):
            self._disk.said[member] = said, self._disk.now()
        return over_at is not None and self._disk.now() - over_at >= seconds
