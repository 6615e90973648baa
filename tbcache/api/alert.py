"""Alerts: by which rules one is told of troubles, whereto, and whether that arrives."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from tbcache.api.context import Ctx
from tbcache.api.model.schema import Schema
from tbcache.api.query import QueryRoute

router = APIRouter(prefix="/api", tags=["monitoring"], route_class=QueryRoute)


class Watcher(Schema):
    """The process that looks for troubles, and tells of them."""

    name: str | None = Field(description="Null where no process of the fleet is running.")
    fault: str = Field(description="What is wrong with the key in Redis that says so.")


class Alerts(Schema):
    """By what the process that watches goes, whatever this one was started with."""

    rules: list[str] | None = Field(
        description="After how long one is told of which troubles: `*:5m`. Null where nobody says."
    )
    webhook: str | None = Field(
        description="Its address, without what is secret of it; null where there is none, or nobody says."
    )
    watcher: Watcher


@router.get("/alerts")
def alerts(context: Ctx) -> Alerts:
    """By which rules one is told of troubles, and whereto; `/api/incidents` says of each what was sent."""
    found = context.fleet.watcher()
    rules = None if found.rules is None else list(found.rules)
    return Alerts(rules=rules, webhook=found.webhook, watcher=Watcher(name=found.name, fault=found.fault))
