"""What the repository raises."""

from tbcache.models.error import RepositoryUnavailable, TbcacheError

__all__ = ["AnswerRefused", "CorruptAnswer", "RepositoryUnavailable"]


class AnswerRefused(TbcacheError, ValueError):
    """The database refuses these answers and takes others: to try again is of no use."""


class CorruptAnswer(TbcacheError, ValueError):
    """The bytes are no answer."""
