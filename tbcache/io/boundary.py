"""What the core asks of its machine beside clocks, threads and the driver: sockets, files, other processes.

What stands for the machine, as the simulated one of :mod:`tbcache.testing`, puts something of its own in the
place of each of these, and finds it here by its name. So it need not know which package has it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

#: By name: the functions, and the classes as what makes their objects.
BOUNDARY: dict[str, Callable[..., Any]] = {}
#: With the class that each is an attribute of.
PROCESS_PROPERTIES: list[tuple[type, process_property[Any]]] = []


def boundary(name: str) -> Callable[[F], F]:
    """Mark a function or a class as one that reaches into the machine."""

    def mark(reaching: F) -> F:
        BOUNDARY[name] = reaching
        return reaching

    return mark


class process_property(cached_property[T]):  # noqa: N801 -- used as a decorator, as cached_property is
    """An attribute that is made when it is first asked for, one for each process.

    It is for objects that code declares as it is imported: the processes of a simulated machine share them,
    and not what they stand on.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        super().__set_name__(owner, name)
        PROCESS_PROPERTIES.append((owner, self))
