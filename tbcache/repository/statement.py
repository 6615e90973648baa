"""The statements by which rows are written and removed. What they write twice changes nothing."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Delete,
    Insert,
    Table,
    and_,
    bindparam,
    delete,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from tbcache.repository import table

#: The columns whose change makes another version of an item; likes that have grown make none.
_SAID = ("at", "author", "text", "label", "score", "weight", "facts")
_KEY = ("source", "external_id", "symbol")


def upsert_items(dialect: str) -> Insert:
    """Insert an item, or replace it by a later version; what says the same again changes nothing."""
    statement = _insert(dialect, table.items)
    return statement.on_conflict_do_update(
        index_elements=_KEY,
        set_={name: statement.excluded[name] for name in (*_SAID, "engagement", "scorer", "seen_at")},
        where=and_(
            table.items.c.seen_at <= statement.excluded.seen_at,
            or_(*(table.items.c[name].is_distinct_from(statement.excluded[name]) for name in _SAID)),
        ),
    )


def keep_replaced(dialect: str) -> Insert:
    """Put by the version of an item that a later one, whose row is given, is about to replace."""
    names = table.versions.c.keys()
    same = (table.items.c[name] == bindparam(name, type_=table.items.c[name].type) for name in _KEY)
    said = (
        table.items.c[name].is_distinct_from(bindparam(name, type_=table.items.c[name].type))
        for name in _SAID
    )
    earlier = table.items.c.seen_at < bindparam("seen_at", type_=table.UtcDateTime)
    old = select(*(table.items.c[name] for name in names)).where(*same, earlier, or_(*said))
    return _insert(dialect, table.versions).from_select(names, old).on_conflict_do_nothing()


def keep_late(dialect: str) -> Insert:
    """Put by a version, whose row is given, that is written after a later one: outboxes know no order."""
    return _keep_given(dialect, table.items.c.seen_at > bindparam("seen_at", type_=table.UtcDateTime))


def keep_again(dialect: str) -> Insert:
    """Put by a version, whose row is given, that says the same as an earlier one, and was read anew by a load
    to which that was not known.
    """
    return _keep_given(dialect, table.items.c.seen_at < bindparam("seen_at", type_=table.UtcDateTime))


def _keep_given(dialect: str, condition: ColumnElement[bool]) -> Insert:
    names = table.versions.c.keys()
    given = (bindparam(name, type_=table.versions.c[name].type) for name in names)
    same = (table.items.c[name] == bindparam(name, type_=table.items.c[name].type) for name in _KEY)
    chosen = select(*given).select_from(table.items).where(*same, condition)
    return _insert(dialect, table.versions).from_select(names, chosen).on_conflict_do_nothing()


def insert_once(dialect: str, one: Table) -> Insert:
    return _insert(dialect, one).on_conflict_do_nothing()


def delete_hours(oldest: datetime) -> Delete:
    """Remove the hours of the usage before ``oldest``, of every fleet."""
    return delete(table.hours).where(table.hours.c.hour < oldest)


#: The column of each growing table from which a row's age counts: by our clock, never the upstream's.
AGES: dict[Table, Column[datetime]] = {
    table.items: table.items.c.first_seen_at,
    table.snapshots: table.snapshots.c.as_of,
    table.versions: table.versions.c.seen_at,
    table.reads: table.reads.c.read_at,
    table.loads: table.loads.c.read_at,
    table.load_times: table.load_times.c.read_at,
}


def delete_older(one: Table, oldest: datetime, most: int) -> Delete:
    """Remove the oldest rows of before ``oldest``, at most ``most``.

    Rows that a writer has locked are left for the next time.
    """
    moment = AGES[one]
    key = tuple_(*one.primary_key.columns)
    found = select(*one.primary_key.columns).where(moment < oldest).order_by(moment).limit(most)
    return delete(one).where(key.in_(found.with_for_update(skip_locked=True)))


def _insert(dialect: str, one: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(one) if dialect == "postgresql" else sqlite.insert(one)
