"""What most commands begin with: settings, logs, and a Redis that answers."""

from __future__ import annotations

from tbcache.cli.error import say
from tbcache.errors import RedisUnreachable
from tbcache.settings import Settings, get_settings
from tbcache.settings.log import configure_logging
from tbcache.store import Store, get_store
from tbcache.store.start import await_server


def told_settings() -> Settings:
    """The settings of this process; says so when a note that is not to be believed was left out of them."""
    settings = get_settings()
    if settings.note_problem is not None:
        say(settings.note_problem)
    return settings


def quiet_settings() -> Settings:
    """The settings of this process, with logs on stderr: only errors, unless a level was chosen."""
    settings = told_settings()
    level = settings.log_level if "log_level" in settings.model_fields_set else "error"
    configure_logging(settings.model_copy(update={"log_level": level}))
    return settings


def require_redis(settings: Settings) -> Store:
    """The store of this process.

    Raises:
      RedisUnreachable: it does not answer, or nobody said where it is.
      ConfigurationError: it refuses the user or the password.
    """
    store = configured_store(settings)
    store.require()
    return store


def await_redis(settings: Settings) -> None:
    """As :func:`require_redis`, for a process that stays: a Redis that does not answer yet is waited for."""
    await_server(configured_store(settings), say)


def configured_store(settings: Settings) -> Store:
    """The store of this process, whether it answers or not.

    Raises:
      RedisUnreachable: nobody said where it is.
    """
    if settings.redis is None:
        raise RedisUnreachable(
            "",
            f"REDIS_URL is not set, and no `tbcache up` runs with the data folder {settings.data_dir}",
        )
    return get_store()
