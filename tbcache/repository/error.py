"""What the repository raises."""

from tbcache.models.error import TbcacheError


class RepositoryUnavailable(TbcacheError):
    """The database is down, locked or not reachable now; the same call may do later."""


class AnswerRefused(TbcacheError, ValueError):
    """The database refuses these answers and takes others: to try again is of no use."""


class CorruptAnswer(TbcacheError, ValueError):
    """The bytes are no answer."""
