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
    rules: list[str] = Field(description="After how long one is told of which troubles: `*:5m`.")
    webhook: str | None = Field(description="Its address, without what is secret of it.")
    watcher: Watcher


@router.get("/alerts")
def alerts(context: Ctx) -> Alerts:
    """By which rules one is told of troubles, and whereto; `/api/incidents` says of each what was sent."""
    # It brings an HTTP client along, which nothing else of the API needs.
    from tbcache.fleet.alert import Webhook

    webhook = Webhook.of(context.settings)
    return Alerts(
        rules=[str(rule) for rule in context.settings.alerts],
        webhook=webhook.address if webhook else None,
        watcher=Watcher(**context.fleet.watcher()._asdict()),
    )
