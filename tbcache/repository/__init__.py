"""Persistence: answers and their items in SQLite or PostgreSQL, written off the hot path."""

from typing import TYPE_CHECKING, Any

from tbcache.models.extra import need_database
from tbcache.repository.answer import Answer, decode_answer, encode_answer
from tbcache.repository.error import AnswerRefused, CorruptAnswer, RepositoryUnavailable
from tbcache.repository.writer import Writer

if TYPE_CHECKING:
    from tbcache.repository.repository import SentimentRepository


def __getattr__(name: str) -> Any:
    # SQLAlchemy takes a quarter of a second to import, which only those who write should pay.
    if name == "SentimentRepository":
        need_database()
        from tbcache.repository.repository import SentimentRepository

        return SentimentRepository
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
