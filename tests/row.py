"""What stands in a database, as tests look for it."""

from __future__ import annotations

import sqlalchemy

from tbcache.repository import SentimentRepository, table


def count_items(repository: SentimentRepository) -> int:
    """How many items are written."""
    counting = sqlalchemy.select(sqlalchemy.func.count()).select_from(table.items)
    with repository._database.connect() as connection:
        return int(connection.execute(counting).scalar_one())
