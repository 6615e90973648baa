"""Settings: the only reader of the environment.

Variables are ``REDIS_*`` and ``TBCACHE_*``; a source's own are nested by ``__``,
as in ``TBCACHE_TWITTER__LIMITS``. ``tbcache up`` leaves a runtime file of the variables it
chose in the data folder. The environment goes before the runtime file, except for what belongs
together: a source's address and its credentials are all of one of the two. Before the environment goes a data
folder that is named by ``--data-dir``, or in code: it names the fleet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from tbcache.models.caller import check_caller
from tbcache.models.error import ConfigurationError, UnknownSource
from tbcache.models.extra import has
from tbcache.models.request import LONGEST_HOURS
from tbcache.models.secret import SecretStr
from tbcache.settings import value
from tbcache.settings.alert import (
    DEFAULT_RULES,
    AlertRule,
    check_rule_sources,
    check_webhook_url,
    read_rules,
    secret_bytes,
)
from tbcache.settings.caller import program_name, read_weights
from tbcache.settings.field import Reader, WrongValue, read_fields, readers_of, setting
from tbcache.settings.folder import DATA_DIR
from tbcache.settings.reader import checked, number, one_of, positive, secret, truth, whole
from tbcache.settings.reading import Reading, read_variables
from tbcache.settings.redis_url import check_redis_url
from tbcache.settings.secret import address_of, hide, secrets_in
from tbcache.settings.upstream import NOTHING_SAID, READERS, SourceSettings
from tbcache.settings.value import LONGEST_SECONDS
from tbcache.settings.variable import (
    Fields,
    in_variables,
    refusal,
    variable,
    variable_of,
)

COMMON_SYMBOLS = ("AAPL", "MSFT", "NVDA", "TSLA", "AMZN", "GOOGL", "META", "AMD", "SPY", "GME")


@dataclass(frozen=True)
class Settings:
    """Every setting, read once. Read them with :meth:`load`."""

    redis_url: SecretStr | None = setting(secret(check_redis_url))
    redis_host: str | None = setting(checked(value.host))
    redis_port: int = setting(whole(1, 65535), 6379)
    redis_password: SecretStr | None = setting(secret())
    redis_db: int = setting(whole(0), 0)
    redis_ssl: bool = setting(truth, False)
    redis_cluster: bool = setting(truth, False)
    redis_sentinels: tuple[str, ...] = setting(value.sentinels, ())
    redis_sentinel_password: SecretStr | None = setting(secret())
    redis_timeout: float = setting(positive(60), 0.25)

    namespace: str = setting(value.namespace, "trading_bot")
    data_dir: Path = setting(Path, DATA_DIR)
    database_url: SecretStr | None = setting(secret(value.database_url))
    #: Who has the first may do everything over HTTP, who has the other may read.
    api_token: SecretStr | None = setting(secret(value.token))
    api_read_token: SecretStr | None = setting(secret(value.token))
    #: The proxies that are believed for whom they ask the API, and whether by TLS.
    api_trusted_proxies: tuple[value.Network, ...] = setting(value.networks, ())
    common_symbols: tuple[str, ...] = setting(value.symbols, COMMON_SYMBOLS)
    common_hours: int = setting(whole(1, LONGEST_HOURS), 24)
    local_cache_bytes: int = setting(whole(0), 16 * 1024 * 1024)
    prewarm_share: float = setting(positive(1), 0.7)
    #: The exchange by whose hours what is listed is kept warm, as in ISO 10383; None: at all hours.
    market: str | None = setting(value.market)
    #: What nobody asks for is fetched so often while it is closed.
    off_hours_ttl: float = setting(positive(LONGEST_SECONDS), 3600.0)
    lease_seconds: float = setting(positive(3600), 15.0)
    #: For how long a worker that is stopped may finish what it has in hand.
    stop_seconds: float = setting(number(1, 3600), 30.0)
    #: It is off without the extra ``sql``, as there is nothing to write with.
    persist: bool = setting(truth, default_factory=lambda: has("sqlalchemy"))
    #: 0 keeps everything for ever.
    keep_days: int = setting(whole(0, 36500), 90)
    #: How much of what is posted counts: see ``tbcache.scoring.voices``.
    author_times: int = setting(whole(1, 1_000_000), 3)
    languages: tuple[str, ...] = setting(value.languages, ("en",))
    weigh_engagement: bool = setting(truth, False)
    #: The folder, or the file, of a classifier that scores texts in the place of the lexicon.
    classifier: Path | None = setting(Path)
    names: dict[str, str] = setting(value.names, default_factory=dict)
    worker_name: str | None = setting(str)
    #: In whose name this process asks, and how much each caller gets of a queue: 1 where nothing is said.
    caller: str | None = setting(check_caller)
    caller_weights: dict[str, float] = setting(read_weights, default_factory=dict)
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        one_of("debug", "info", "warning", "error"), "info"
    )
    log_format: Literal["console", "json"] = setting(one_of("console", "json"), "console")
    #: What this process alone writes its log into, in place of stderr.
    log_file: Path | None = setting(Path)
    sources: dict[str, str] = setting(value.classes, default_factory=dict)
    #: Of which troubles one is told after how long, and where to: see docs/alerts.md.
    alert_rules: str = setting(checked(read_rules), DEFAULT_RULES)
    alert_allow_http: bool = setting(truth, False)
    alert_webhook_secret: SecretStr | None = setting(secret(secret_bytes))
    alert_webhook_url: SecretStr | None = setting(secret())

    twitter: SourceSettings = NOTHING_SAID
    reddit: SourceSettings = NOTHING_SAID
    news: SourceSettings = NOTHING_SAID
    options: SourceSettings = NOTHING_SAID
    stocktwits: SourceSettings = NOTHING_SAID
    custom: dict[str, SourceSettings] = field(default_factory=dict)

    #: Where they were read from.
    reading: Reading = field(default=Reading(), compare=False, repr=False)

    def __post_init__(self) -> None:
        hide(self)

    @classmethod
    def load(
        cls, environ: Mapping[str, str] | None = None, *, data_dir: Path | None = None, own_source: str = ""
    ) -> Settings:
        """Read the environment and the runtime file of a running ``tbcache up``.

        ``data_dir``, or the ``.tbcache`` in it of a ``tbcache up`` that was started there, goes before the
        environment: Redis, namespace and database are those of the ``tbcache up`` that runs with it.
        ``own_source``, like ``mine=mybot.sources:Mine``, is one beside those of ``TBCACHE_SOURCES``.

        Raises:
          ConfigurationError: names the variable, its value, and what would be right.
        """
        env = os.environ if environ is None else environ
        variables, reading = read_variables(
            env, data_dir, own_source, FIELDS, lambda given: cls._of(given).redis
        )
        return replace(cls._of(variables), reading=reading)

    @classmethod
    def _of(cls, variables: Mapping[str, str]) -> Settings:
        plain, of_sources = FIELDS.collect(variables)
        found = _read(FIELDS.settings, plain, variable_of)
        custom: dict[str, SourceSettings] = {}
        for name, given in of_sources.items():
            said = SourceSettings(**_read(FIELDS.source, given, partial(variable, name)))
            (found if name in BUILT_IN_NAMES else custom)[name] = said
        settings = cls(**found, custom=custom)
        for name, check in _TOGETHER.items():
            try:
                check(settings)
            except ValueError as error:
                raise ConfigurationError(
                    refusal(variable_of(name), plain.get(name, ""), str(error))
                ) from None
        return settings

    @property
    def runtime_file_problem(self) -> str | None:
        """Why the runtime file was ignored, in one line; None where there is none, or it counts."""
        return self.reading.problem

    def declared(self, name: str) -> SourceSettings:
        """What the variables say of a source that code declares; nothing, where there are none.

        Dashes, dots and underscores in ``name`` are one underscore in the variables' names.
        """
        return self.custom.get(in_variables(name).lower(), NOTHING_SAID)

    def source(self, name: str) -> SourceSettings:
        """The settings of one source, built in or the user's own."""
        if name in self.custom:
            return self.custom[name]
        if name in BUILT_IN_NAMES:
            found: SourceSettings = getattr(self, name)
            return found
        if name in self.sources:
            return NOTHING_SAID
        raise UnknownSource(name, (*BUILT_IN_NAMES, *self.sources))

    @property
    def own_caller(self) -> str:
        """In whose name this process asks and queues, where nobody else is named."""
        return self.caller or program_name()

    @property
    def alerts(self) -> tuple[AlertRule, ...]:
        """Of which troubles one is told, after how long."""
        return read_rules(self.alert_rules)

    @property
    def secrets(self) -> frozenset[str]:
        """All credentials among the settings, which nobody may read in a log."""
        sources = (*(getattr(self, name) for name in BUILT_IN_NAMES), *self.custom.values())
        return frozenset(secret for part in (self, *sources) for secret in secrets_in(part))

    @property
    def redis(self) -> str | None:
        """The Redis URL with its password, or None when none is configured."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        if self.redis_host is None:
            return None
        scheme = "rediss" if self.redis_ssl else "redis"
        password = self.redis_password.get_secret_value() if self.redis_password else ""
        login = f":{quote(password, safe='')}@" if password else ""
        return f"{scheme}://{login}{self.redis_host}:{self.redis_port}/{self.redis_db}"

    @property
    def redis_address(self) -> str:
        """Where Redis is, without its password; for messages."""
        return address_of(self.redis) if self.redis else "(no REDIS_URL is set)"


def _read(
    readers: Mapping[str, Reader[Any]], given: Mapping[str, str], variable: Callable[[str], str]
) -> dict[str, Any]:
    """The values of fields that were ``given``; ``variable`` gives the variable of each.

    Raises:
      ConfigurationError: in one line, the first thing wrong: the variable, its value, what would be right.
    """
    try:
        return read_fields(readers, given)
    except WrongValue as error:
        raise ConfigurationError(refusal(variable(error.field), given[error.field], str(error))) from None


def _check_cluster(settings: Settings) -> None:
    if not settings.redis_cluster:
        return
    parts = urlsplit(settings.redis or f"redis:///{settings.redis_db}")
    if parts.scheme == "unix" or parts.path.strip("/") not in ("", "0"):
        raise ValueError("a cluster has no socket file and no database but 0")


def _check_sentinels(settings: Settings) -> None:
    if not settings.redis_sentinels:
        return
    if settings.redis is None:
        raise ValueError("it needs a REDIS_URL that says which service it is, as redis://SERVICE/DB")
    if urlsplit(settings.redis).scheme == "unix":
        raise ValueError("Sentinel watches no socket file; REDIS_URL should be redis://SERVICE/DB")
    if settings.redis_cluster:
        raise ValueError("a cluster promotes its replicas itself; unset it, or REDIS_CLUSTER")


def _check_read_token(settings: Settings) -> None:
    if settings.api_read_token is not None and settings.api_read_token == settings.api_token:
        raise ValueError("it is TBCACHE_API_TOKEN, with which one may do everything; it should be another")


def _check_rules(settings: Settings) -> None:
    check_rule_sources(settings.alerts, (*BUILT_IN_NAMES, *settings.sources))


def _check_webhook(settings: Settings) -> None:
    if settings.alert_webhook_url is None:
        return
    check_webhook_url(settings.alert_webhook_url.get_secret_value(), allow_http=settings.alert_allow_http)
    if settings.alert_webhook_secret is None:
        raise ValueError("it needs TBCACHE_ALERT_WEBHOOK_SECRET, by which the receiver knows that it was us")


#: What is sound by itself, and may not be beside the others; a ValueError says why.
_TOGETHER: Mapping[str, Callable[[Settings], None]] = {
    "redis_cluster": _check_cluster,
    "redis_sentinels": _check_sentinels,
    "api_read_token": _check_read_token,
    "alert_rules": _check_rules,
    "alert_webhook_url": _check_webhook,
}
BUILT_IN_NAMES = tuple(one.name for one in fields(Settings) if isinstance(one.default, SourceSettings))
FIELDS = Fields(readers_of(Settings), READERS, BUILT_IN_NAMES)
