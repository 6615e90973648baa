"""What an error of the server says: that it cannot be used now, or that one key is not what it should be.

Whatever is no answer means away. To list the errors that do would leave out the next one: a server
refuses for want of disk, memory, replicas, rights, a primary or time, and each of its forks in words
of its own. What is about a single key or command is listed instead (:func:`is_of_call`).
"""

from __future__ import annotations

import re

import redis
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    ClusterError,
    NoPermissionError,
)

from tbcache.io.error import Unsent as Unsent
from tbcache.models.error import ConfigurationError

#: Everything that a server, or the way to it, may raise; not what redis-py says of our own mistakes.
AWAY = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ResponseError,
    redis.InvalidResponse,
    ClusterError,
    OSError,
)
#: Why a server cannot be used that is there, and stands still or has too much to do; and one that may not be
#: there.
LATE, UNCONNECTED = "no answer in time", "no connection in time"
#: It refuses the user or the password.
REFUSED_LOGIN = (AuthenticationError, AuthenticationWrongNumberOfArgsError, NoPermissionError)

#: What redis-py puts before an error inside a pipeline: the command, with its arguments.
_OF_PIPELINE = re.compile(r"^Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)
#: What redis-py puts before the reason of a failed connection: a number, and the address once more.
_OF_CONNECTION = re.compile(r"^Error -?\d+ connecting to \S+\. ")
#: What redis-py says of a connection that broke: what it did, an address or none, and the system's word.
_OF_BREAK = re.compile(
    r"^Error (?:\d+ )?while (?:reading|writing)\b.*?(?:: \(\d+, ['\"](.*)['\"]\)|socket\. (.*))$"
)
#: The script in which it happened, and where.
_OF_SCRIPT = re.compile(r" script: (\S+, )?on @user_script.*$", re.DOTALL)
#: The server's words where the error is about one key: it holds a value of another type, or no number where
#: one should be, or nothing that a script can go on with, or the user has no right to it.
_OF_KEY = re.compile(
    r"\bWRONGTYPE\b|is not an? (integer|valid float)|would overflow|access (a|(at least )?one of the) keys?\b"
    r"|command arguments must be strings or integers",
    re.IGNORECASE,
)
#: A script failed at a value. Where the server refused a command of the script, its code stands there.
_IN_SCRIPT = re.compile(r"user_script: ?\d+: (?!-?[A-Z]{3,} |@)")
#: A script is wrong whatever the keys hold: it does not compile, or names or calls what there is not.
_OF_SCRIPT_ALONE = re.compile(
    r"error compiling script|nonexistent global variable|to create global variable|modify a readonly table"
    r"|attempt to call |wrong number of args calling (Redis )?command",
    re.IGNORECASE,
)
#: The command that the user has no right to, beside a subcommand of it.
_DENIED = re.compile(r"no permissions to run the '([a-z]+)(?:\|[a-z]+)?' command", re.IGNORECASE)
#: The number of a database, or that there is none to choose.
_OF_DATABASE = re.compile(r"\bDB index\b|\bSELECT\b|Invalid Database", re.IGNORECASE)


def is_of_call(error: Exception, *, is_script: bool) -> bool:
    """True when an error is about what was asked, not about the server.

    A plain command may be one that the user has no rights to and can do without (INFO, SUBSCRIBE);
    scripts are what nothing goes without. A key that it has no rights to is one source's, like a damaged one.
    """
    if not isinstance(error, redis.ResponseError):
        return False
    text = words(error)
    if is_bug(error) or _OF_KEY.search(text):
        return True
    if isinstance(error, NoPermissionError):
        return not is_script
    return _IN_SCRIPT.search(text) is not None


def is_bug(error: Exception) -> bool:
    """True when a script of ours is wrong, whatever the keys hold.

    One that stumbles over a value may be wrong as well: that is not told apart from a damaged key.
    """
    return isinstance(error, redis.ResponseError) and _OF_SCRIPT_ALONE.search(words(error)) is not None


def is_about_database(error: BaseException) -> bool:
    """True when the server has no database of the number that is set."""
    return _OF_DATABASE.search(str(error)) is not None


def is_refusal(error: BaseException) -> bool:
    """True when the server is there, and does not do what it was asked."""
    return isinstance(error, redis.ResponseError | BusyLoadingError)


def is_passing(error: Exception) -> bool:
    """True when the server is there and will answer by itself: it is frozen, loading, or being promoted."""
    cause = cause_of(error)
    if isinstance(cause, redis.TimeoutError | TimeoutError):
        return not _is_unconnected(cause)
    if isinstance(cause, BusyLoadingError):
        return True
    return words(cause).startswith(("LOADING", "BUSY ", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"))


def denied_command(error: Exception) -> str | None:
    """The command that the user has no right to, of a script or asked for itself; None for another error."""
    found = _DENIED.search(words(error)) if isinstance(error, redis.ResponseError) else None
    return found[1] if found else None


def may_be_done(error: Exception) -> bool:
    """True when the server may have done what it was asked, or a part of it, all the same."""
    if not isinstance(error, redis.ResponseError):
        # A connection that breaks says nothing of what was sent over it.
        return not isinstance(error, Unsent)
    if isinstance(error, NoPermissionError):
        # It was not begun.
        return False
    # A script is stopped where it stumbles, or lacks a right: what it wrote before stays.
    return "ACL failure in script" in str(error) or is_of_call(error, is_script=True)


def reason_of(error: Exception) -> str:
    """In a few words, with the node of a cluster that it is about."""
    return ", node ".join([_problem(error), *getattr(error, "__notes__", ())])


def words(error: BaseException) -> str:
    """The server's own words, without the command and the script that they are about."""
    text = _OF_SCRIPT.sub("", _OF_PIPELINE.sub("", str(error))).strip().rstrip(".")
    code = getattr(error, "status_code", None)
    # redis-py takes the code off where it has a class for it.
    return f"{code} {text}" if code and code != "ERR" and not text.startswith(code) else text


def cause_of(error: BaseException) -> BaseException:
    """Why there was no connection, where that is all that ``error`` says."""
    return error.__cause__ if isinstance(error, Unsent) and error.__cause__ is not None else error


def _is_unconnected(error: BaseException) -> bool:
    """True of a timeout where nothing has answered at the address: a host that is switched off, or none. A
    server that is frozen is connected to all the same, by its machine."""
    return str(error) == "Timeout connecting to server"


def _problem(error: BaseException) -> str:
    error = cause_of(error)
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return UNCONNECTED if _is_unconnected(error) else LATE
    text = _OF_CONNECTION.sub("", words(error))
    if "refused" in text.lower() and not isinstance(error, redis.ResponseError):
        return "connection refused"
    if (broke := _OF_BREAK.match(text)) is not None:
        return f"the connection broke ({broke[1] or broke[2]})"[:160]
    # The sentences after the first are advice for the administrator of the server.
    return text.partition(". ")[0][:160] or type(error).__name__


def in_cluster(address: str) -> ConfigurationError:
    """What to raise where a server says that it is a node of a cluster, and the settings do not."""
    return ConfigurationError(f"Redis at {address} is a node of a cluster; set REDIS_CLUSTER=true")
