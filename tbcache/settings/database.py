"""Whether there is a database to keep answers in."""

from __future__ import annotations

from tbcache.models.database import need_database
from tbcache.models.error import MissingExtra
from tbcache.settings.model import Settings


def why_unkept(settings: Settings) -> str | None:
    """Why answers go to no database although nobody has said that they should not; None where they do."""
    if settings.persist or "persist" in settings.model_fields_set:
        return None
    try:
        need_database()
    except MissingExtra as error:
        return f"answers are not kept: {error}"
    return None
