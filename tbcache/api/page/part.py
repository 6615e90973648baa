"""Parts of the pages, drawn from the fleet's status."""

from __future__ import annotations

from typing import Any

from fastapi.responses import HTMLResponse

from tbcache.api.page import mend, row
from tbcache.api.page.live import Parts
from tbcache.api.page.render import page, render
from tbcache.fleet import FleetStatus


def drawn(status: FleetStatus, *parts: str, **names: Any) -> Parts:
    """Parts of a page, by the names of their templates, which are the ids of their elements."""
    mends = mend.mends(status)
    known = {
        "status": status,
        "rows": row.rows(status),
        "is_demo": row.is_demo(status),
        "mends": mends,
        "worst": mend.tone_of(mends),
        **names,
    }
    return {part: render(f"part/{part}.html", **known) for part in parts}


def processes(status: FleetStatus) -> Parts:
    """The page of processes."""
    return drawn(status, "head", "processes")


def head(status: FleetStatus) -> Parts:
    """What stands above each page."""
    return drawn(status, "head")


def headed(template: str, status: FleetStatus, **names: Any) -> HTMLResponse:
    """A page of which what stands above changes alone."""
    return page(template, live="head", parts=head(status), status=status, **names)
