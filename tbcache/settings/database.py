"""Whether there is a database to keep answers in, and which."""

from __future__ import annotations

from pathlib import Path

from tbcache.models.error import MissingExtra
from tbcache.models.extra import DO_NOT_KEEP, need_database
from tbcache.settings.model import Settings


def why_unkept(settings: Settings) -> str | None:
    """Why answers go to no database although nobody has said that they should not; None where they do."""
    if settings.persist or settings.reading.has("persist"):
        return None
    try:
        need_database(DO_NOT_KEEP)
    except MissingExtra as error:
        return f"answers are not kept: {error}"
    return None


def database_url(settings: Settings) -> str:
    """The database's URL: SQLite in the data folder where none is named."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{database_file(settings)}"


def database_file(settings: Settings) -> Path:
    """The file of SQLite in the data folder."""
    return (settings.data_dir / "tbcache.sqlite3").resolve()
