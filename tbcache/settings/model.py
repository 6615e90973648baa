"""Settings: the only reader of the environment.

Variables are ``REDIS_*`` and ``TBCACHE_*``; a source's own are nested by ``__``,
as in ``TBCACHE_TWITTER__LIMITS``. ``tbcache up`` leaves a runtime file of the variables it
chose in the data folder. The environment goes before the runtime file, except for what belongs
together: a source's address and its credentials are all of one of the two. Before the environment goes a data
folder that is named by ``--data-dir``, or in code: it names the fleet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
)

from tbcache.io.singleton import singleton
from tbcache.models import Charge, Limit
from tbcache.models.caller import check_caller
from tbcache.models.error import ConfigurationError, UnknownSource
from tbcache.models.extra import has
from tbcache.models.request import LONGEST_HOURS
from tbcache.settings import value
from tbcache.settings.alert import DEFAULT_RULES, AlertRule, check_rule_sources, read_rules
from tbcache.settings.caller import program_name, read_weights
from tbcache.settings.folder import DATA_DIR
from tbcache.settings.query_filter import check_query_filter
from tbcache.settings.reading import Reading, read_variables
from tbcache.settings.secret import address_of, secrets_in
from tbcache.settings.value import LONGEST_SECONDS, HttpUrl, Seconds
from tbcache.settings.variable import NEAR, Fields, in_variables

#: More pages for one answer are a typo.
MOST_PAGES = 1000
#: The most symbols of a query: no upstream takes as many.
MOST_PACKED = 100
#: More money than anybody spends a day, and the least that is counted (US dollars).
MOST_DOLLARS, LEAST_DOLLARS = 1e9, 1e-6
COMMON_SYMBOLS = ("AAPL", "MSFT", "NVDA", "TSLA", "AMZN", "GOOGL", "META", "AMD", "SPY", "GME")


def _alert_rules(value: str, info: ValidationInfo) -> str:
    rules = read_rules(value)
    if "sources" in info.data:
        check_rule_sources(rules, (*BUILT_IN_NAMES, *info.data["sources"]), NEAR)
    return value


class SourceSettings(BaseModel):
    """What one source's variables say; None where they say nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    base_url: HttpUrl | None = None
    limits: Annotated[tuple[Limit, ...], BeforeValidator(value.limits), Field(min_length=1)] | None = None
    cache_ttl: Seconds | None = None
    stale_ttl: Annotated[float, Field(ge=0, le=LONGEST_SECONDS)] | None = None
    charge: Charge | None = None
    daily_budget: Annotated[float, Field(ge=LEAST_DOLLARS, le=MOST_DOLLARS)] | None = None
    deepening_share: Annotated[float, Field(ge=0, le=1)] | None = None
    cost: PositiveInt | None = None
    pages: Annotated[int, Field(ge=1, le=MOST_PAGES)] | None = None
    pack: Annotated[int, Field(ge=1, le=MOST_PACKED)] | None = None
    delay_hours: Annotated[float, Field(ge=0, le=LONGEST_HOURS)] | None = None

    bearer_token: SecretStr | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    user_agent: Annotated[str, AfterValidator(value.user_agent)] = "python:tbcache:v0.1 (by /u/tbcache)"
    auth_url: HttpUrl = "https://www.reddit.com"
    subreddits: Annotated[str, AfterValidator(value.subreddits)] = "wallstreetbets+stocks+investing+options"
    query_filter: Annotated[str, AfterValidator(check_query_filter)] | None = None
    counts_budget: Annotated[float, Field(ge=LEAST_DOLLARS, le=MOST_DOLLARS)] | None = None
    api_key: SecretStr | None = None
    access_token: SecretStr | None = None


class Settings(BaseModel):
    """Every setting, read once. Build with :meth:`load`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redis_url: Annotated[SecretStr, AfterValidator(value.redis_url)] | None = None
    redis_host: Annotated[str, AfterValidator(value.host)] | None = None
    redis_port: Annotated[int, Field(ge=1, le=65535)] = 6379
    redis_password: SecretStr | None = None
    redis_db: Annotated[int, Field(ge=0)] = 0
    redis_ssl: bool = False
    redis_cluster: Annotated[bool, AfterValidator(value.cluster)] = False
    redis_sentinels: Annotated[
        tuple[str, ...], BeforeValidator(value.addresses), AfterValidator(value.sentinels)
    ] = ()
    redis_sentinel_password: SecretStr | None = None
    redis_timeout: Annotated[float, Field(gt=0, le=60)] = 0.25

    namespace: Annotated[str, AfterValidator(value.namespace)] = "trading_bot"
    data_dir: Path = DATA_DIR
    database_url: Annotated[SecretStr, AfterValidator(value.database_url)] | None = None
    #: Who has the first may do everything over HTTP, who has the other may read.
    api_token: Annotated[SecretStr, AfterValidator(value.token)] | None = None
    api_read_token: (
        Annotated[SecretStr, AfterValidator(value.token), AfterValidator(value.read_token)] | None
    ) = None
    #: The proxies that are believed for whom they ask the API, and whether by TLS.
    api_trusted_proxies: Annotated[tuple[value.Network, ...], BeforeValidator(value.networks)] = ()
    common_symbols: Annotated[tuple[str, ...], BeforeValidator(value.symbols)] = COMMON_SYMBOLS
    common_hours: Annotated[int, Field(ge=1, le=LONGEST_HOURS)] = 24
    local_cache_bytes: Annotated[int, Field(ge=0)] = 16 * 1024 * 1024
    prewarm_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    #: The exchange by whose hours what is listed is kept warm, as in ISO 10383; None: at all hours.
    market: Annotated[str, AfterValidator(value.market)] | None = None
    #: What nobody asks for is fetched so often while it is closed.
    off_hours_ttl: Seconds = 3600.0
    lease_seconds: Annotated[float, Field(gt=0, le=3600)] = 15.0
    #: For how long a worker that is stopped may finish what it has in hand.
    stop_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0
    #: It is off without the extra ``sql``, as there is nothing to write with.
    persist: bool = Field(default_factory=lambda: has("sqlalchemy"))
    #: 0 keeps everything for ever.
    keep_days: Annotated[int, Field(ge=0, le=36500)] = 90
    #: How much of what is posted counts: see ``tbcache.scoring.voices``.
    author_times: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    languages: Annotated[tuple[str, ...], BeforeValidator(value.languages)] = ("en",)
    weigh_engagement: bool = False
    #: The folder, or the file, of a classifier that scores texts in the place of the lexicon.
    classifier: Path | None = None
    names: Annotated[dict[str, str], BeforeValidator(value.names)] = Field(default_factory=dict)
    worker_name: str | None = None
    #: In whose name this process asks, and how much each caller gets of a queue: 1 where nothing is said.
    caller: Annotated[str, AfterValidator(check_caller)] | None = None
    caller_weights: Annotated[dict[str, float], BeforeValidator(read_weights)] = Field(default_factory=dict)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    #: What this process alone writes its log into, in place of stderr.
    log_file: Path | None = None
    sources: Annotated[dict[str, str], BeforeValidator(value.classes)] = Field(default_factory=dict)
    #: Of which troubles one is told after how long, and where to: see docs/alerts.md.
    alert_rules: Annotated[str, AfterValidator(_alert_rules)] = DEFAULT_RULES
    alert_allow_http: bool = False
    alert_webhook_secret: Annotated[SecretStr, AfterValidator(value.webhook_secret)] | None = None
    alert_webhook_url: Annotated[SecretStr, AfterValidator(value.webhook_url)] | None = None

    twitter: SourceSettings = SourceSettings()
    reddit: SourceSettings = SourceSettings()
    news: SourceSettings = SourceSettings()
    options: SourceSettings = SourceSettings()
    stocktwits: SourceSettings = SourceSettings()
    custom: dict[str, SourceSettings] = Field(default_factory=dict)

    _reading: Reading = PrivateAttr(default=Reading())

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, data_dir: Path | None = None) -> Settings:
        """Read the environment and the runtime file of a running ``tbcache up``.

        ``data_dir``, or the ``.tbcache`` in it of a ``tbcache up`` that was started there, goes before the
        environment: Redis, namespace and database are those of the ``tbcache up`` that runs with it.

        Raises:
          ConfigurationError: names the variable, its value, and what would be right.
        """
        env = os.environ if environ is None else environ
        variables, reading = read_variables(env, data_dir, FIELDS, lambda given: cls._of(given).redis)
        settings = cls._of(variables)
        settings._reading = reading
        return settings

    @classmethod
    def _of(cls, variables: Mapping[str, str]) -> Settings:
        try:
            return cls(**FIELDS.collect(variables))
        except ValidationError as error:
            raise ConfigurationError(FIELDS.explain(error, variables)) from None

    @property
    def reading(self) -> Reading:
        """Where it was read from."""
        return self._reading

    @property
    def runtime_file_problem(self) -> str | None:
        """Why the runtime file was ignored, in one line; None where there is none, or it counts."""
        return self._reading.problem

    def declared(self, name: str) -> SourceSettings:
        """What the variables say of a source that code declares; nothing, where there are none.

        A dash or a dot in ``name`` is an underscore in the variables' names.
        """
        return self.custom.get(in_variables(name).lower(), SourceSettings())

    def source(self, name: str) -> SourceSettings:
        """The settings of one source, built in or the user's own."""
        if name in self.custom:
            return self.custom[name]
        if name in BUILT_IN_NAMES:
            found: SourceSettings = getattr(self, name)
            return found
        if name in self.sources:
            return SourceSettings()
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
        return frozenset(secrets_in(self))

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


BUILT_IN_NAMES = tuple(
    name for name, field in Settings.model_fields.items() if field.annotation is SourceSettings
)
FIELDS = Fields(Settings.model_fields, SourceSettings.model_fields, BUILT_IN_NAMES)


_named: Path | None = None


def name_data_dir(folder: Path | None) -> None:
    """Have :func:`get_settings` read by this data folder, before the environment; None: by that alone.

    Raises:
      ConfigurationError: it was read by another one; what was made then, as the store, stays what it is.
    """
    global _named
    if folder != _named and get_settings.cache_info().currsize:
        raise ConfigurationError(
            f"this process goes by the data folder {get_settings().data_dir} already, and not by "
            f"{'what the environment says' if folder is None else folder}: use a process for each"
        )
    _named = folder


@singleton
def get_settings() -> Settings:
    """The settings of this process, read at the first call."""
    return Settings.load(data_dir=_named)
