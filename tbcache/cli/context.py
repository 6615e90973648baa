"""What most commands begin with: settings, logs, and a Redis that answers.

Whatever reads half of the library is imported where it is called: a command that only says what it takes, or
has its options completed by a shell, starts without it.
"""

from __future__ import annotations

import functools
import os
import pwd
import socket
from typing import TYPE_CHECKING

from tbcache.cli.command import DATA_DIR
from tbcache.cli.error import say
from tbcache.models.error import RedisUnreachable

if TYPE_CHECKING:
    from tbcache.fleet import Fleet, Operator
    from tbcache.settings import Settings


def shell_settings() -> Settings:
    """The settings of this process, by the command line and the environment."""
    from tbcache.settings import get_settings, name_data_dir

    name_data_dir(DATA_DIR.get())
    return get_settings()


def load_settings() -> Settings:
    """The settings of this process; says why the runtime file was ignored, if it was."""
    settings = shell_settings()
    if settings.runtime_file_problem is not None:
        _say_once(settings.runtime_file_problem)
    return settings


@functools.cache
def _say_once(problem: str) -> None:
    # A command may read its settings in several places.
    say(problem)


def quiet_settings() -> Settings:
    """The settings of this process, with logs on stderr: only errors, unless a level was chosen."""
    from tbcache.io.log import configure_logging

    settings = load_settings()
    level = settings.log_level if settings.reading.has("log_level") else "error"
    configure_logging(level, settings.log_format, settings.secrets)
    return settings


def require_redis(settings: Settings) -> Fleet:
    """The fleet over the Redis of this process.

    Raises:
      RedisUnreachable: it does not answer, or nobody said where it is, see :func:`configured_fleet`.
      ConfigurationError: it refuses the user or the password.
    """
    fleet = configured_fleet(settings)
    fleet.require()
    return fleet


def require_data(settings: Settings) -> None:
    """Look that the data folder that is named has a database, where it is that of a fleet, running or not.

    Raises:
      RedisUnreachable: it was named by mistake.
    """
    from tbcache.settings.database import database_file

    # A database that the environment names is of another fleet, for all that is known.
    has_data = settings.database_url is None and database_file(settings).exists()
    if settings.reading.is_named_in_vain and not has_data:
        raise RedisUnreachable("", f"{_none_runs(settings)}, nor has it a database")


def act_as(who: str | None) -> Operator:
    """The operator ``who``; by default this user, on this machine."""
    from tbcache.fleet import WHO

    fleet = require_redis(quiet_settings())
    return fleet.as_operator(who or f"{_user()}@{socket.gethostname()}"[:WHO])


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # In a container a user may have no name.
        return str(os.getuid())


def await_redis(settings: Settings) -> None:
    """Do what :func:`require_redis` does, but wait for a Redis that does not answer yet; say so where it may
    lose what it holds.
    """
    fleet = _fleet(settings)
    fleet.wait_for_server(say)
    for finding in fleet.losses():
        say(f"{finding}")


def look_for_redis(settings: Settings) -> None:
    """Say when Redis is away; where there is none, this command shares the limits with its user's others.

    A wrong password is no such thing, and ends the command.

    Raises:
      RedisUnreachable: a data folder is named, and leads to none: another fleet's limits are meant.
    """
    try:
        configured_fleet(settings).require()
    except RedisUnreachable as error:
        if settings.reading.is_named_in_vain:
            raise
        if settings.redis is None:
            from tbcache.fleet import Fleet

            Fleet.of_process(settings).share_as_command()
            say(f"{error.reason}; going on without Redis: what your commands here send is counted, no more")
        else:
            what = (
                f"at {error.address} refuses what it is asked"
                if error.is_refusal
                else f"is not reachable at {error.address}"
            )
            say(f"Redis {what} ({error.reason}); going on without it")


def configured_fleet(settings: Settings) -> Fleet:
    """The fleet over the Redis of this process, whether that answers or not.

    Raises:
      RedisUnreachable: nobody said where it is, or --data-dir names a folder with which no `tbcache up` runs.
    """
    if settings.redis is not None and settings.reading.is_named_in_vain:
        raise RedisUnreachable(
            "", f"{_none_runs(settings)}; leave --data-dir out to ask {settings.redis_address}"
        )
    return _fleet(settings)


def _fleet(settings: Settings) -> Fleet:
    if settings.redis is None:
        raise RedisUnreachable("", f"REDIS_URL is not set, and {_none_runs(settings)}")
    from tbcache.fleet import Fleet

    return Fleet.of_process(settings)


def _none_runs(settings: Settings) -> str:
    return f"no `tbcache up` runs with the data folder {settings.data_dir}"
