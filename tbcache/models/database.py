"""The database: how one is named, and what it needs."""

from __future__ import annotations

from tbcache.models.extra import need

DATABASE_EXAMPLES = "sqlite:////var/lib/tbcache.db or postgresql://user:password@host/database"


def need_database() -> None:
    """See that what writes to a database is installed.

    Raises:
      MissingExtra: it is not.
    """
    need("the database", "sqlalchemy", otherwise="set TBCACHE_PERSIST=false")
