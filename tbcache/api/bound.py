"""How many connections the API has at once, and how many of them may watch a page."""

from __future__ import annotations

import contextlib
import resource

#: So many pages are watched at once; beyond these a page is as it was when it was opened.
MOST_STREAMS = 2_000
#: How many connections there may be beside those, of one client as many as it leaves free; who comes after is
#: told so. All pages of an office ask at once when the API is there again.
MOST_OTHERS = 1_024
#: The part of the files a process may open that connections may be, the others being Redis' and ours, and for
#: those who are told that there are too many.
FILES_PART = 1 / 3


def allow_files() -> None:
    """Have this process open as many files as all connections need, where the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = round((MOST_STREAMS + MOST_OTHERS) / FILES_PART)
    most = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    if soft != resource.RLIM_INFINITY and soft < most:
        # A sandbox may refuse it; there are fewer connections then.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def open_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def most_connections(files: int | None = None) -> int:
    """How many connections there may be: no more than leave files to open for everything else."""
    files = open_files() if files is None else files
    wanted = MOST_STREAMS + MOST_OTHERS
    if files == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, int(files * FILES_PART)))


def most_others(files: int | None = None) -> int:
    """How many of them there may be that do not watch: the half of them while they are few."""
    return min(MOST_OTHERS, (most_connections(files) + 1) // 2)


def most_streams(files: int | None = None) -> int:
    """How many of them may watch."""
    return most_connections(files) - most_others(files)
