"""Settings: the only reader of the environment.

Variables are ``REDIS_*`` and ``TBCACHE_*``; a source's own are nested by ``__``,
as in ``TBCACHE_TWITTER__LIMITS``. ``tbcache up`` leaves a runtime file of the variables it
chose in the data folder. The environment goes before the runtime file, except for what belongs
together: a source's address and its credentials are all of one of the two.
"""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlsplit

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
from tbcache.models import Charge, Limit, ticker
from tbcache.models.caller import check_caller
from tbcache.models.database import DATABASE_EXAMPLES
from tbcache.models.error import ConfigurationError, UnknownSource, nearest
from tbcache.models.extra import has
from tbcache.models.untrusted import NotJson, read_json
from tbcache.settings.alert import (
    DEFAULT_RULES,
    AlertRule,
    check_rule_sources,
    check_webhook_url,
    read_rules,
    secret_bytes,
)
from tbcache.settings.caller import program_name, read_weights
from tbcache.settings.folder import read_runtime_file
from tbcache.settings.query_filter import check_query_filter
from tbcache.settings.redis_url import check_redis_url, has_sound_port, is_host

PREFIX = "TBCACHE_"
DATABASES = ("sqlite", "sqlite+pysqlite", "postgres", "postgresql", "postgresql+psycopg")
#: Ten years: what lasts longer is a typo.
LONGEST_SECONDS = 315_360_000.0
#: More pages for one answer are a typo, and no upstream reaches back further than a year.
MOST_PAGES, LONGEST_HOURS = 1000, 8760
#: How much (of 1) a name and that of a source have in common, to be taken for a misspelling.
NEAR = 0.8
#: The most symbols of a query: no upstream takes as many.
MOST_PACKED = 100
#: More money than anybody spends a day, and the least that is counted (US dollars).
MOST_DOLLARS, LEAST_DOLLARS = 1e9, 1e-6
COMMON_SYMBOLS = ("AAPL", "MSFT", "NVDA", "TSLA", "AMZN", "GOOGL", "META", "AMD", "SPY", "GME")


def _split(value: object) -> object:
    """Read ``a,b`` and ``["a","b"]`` alike."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return read_json(value)
        except NotJson:
            raise ValueError('it should be a list like A,B or ["A","B"]') from None
    return [part.strip() for part in value.split(",") if part.strip()]


def _limits(value: object) -> object:
    return Limit.parse_all(value) if isinstance(value, str) else value


def _symbols(value: object) -> object:
    names = _split(value)
    return tuple(ticker(name) for name in names) if isinstance(names, list | tuple) else names


def _languages(value: object) -> object:
    names = _split(value)
    if not isinstance(names, list | tuple):
        return names
    wrong = [name for name in names if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})?", str(name))]
    if wrong or not names:
        raise ValueError("it should be one or more codes of languages, like en or en,de")
    return tuple(names)


def _names(value: object) -> object:
    """Read ``SYMBOL=name|name,...`` as a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(symbol.strip() and _are_names(names) for symbol, _, names in pairs):
        raise ValueError("each entry is SYMBOL=NAME|NAME without quotation marks, like SQ=Block|Cash App")
    found = [(ticker(symbol), names.strip()) for symbol, _, names in pairs]
    if twice := [symbol for symbol, count in Counter(symbol for symbol, _ in found).items() if count > 1]:
        raise ValueError(f"{twice[0]} is there twice: names of one symbol are separated by |")
    return dict(found)


def _are_names(text: str) -> bool:
    """Each of them has a letter or a digit, and none a quotation mark, which queries put around it."""
    return all(any(map(str.isalnum, name)) and '"' not in name for name in text.split("|"))


def _pairs(value: object) -> object:
    """Read ``name=module:Class,...`` as a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    for name, _, path in pairs:
        # A name with "__" could have no variables of its own.
        if not name.strip().isidentifier() or "__" in name or ":" not in path:
            raise ValueError("each source is NAME=MODULE:CLASS, like bluesky=mybot.sources:Bluesky")
    return {name.strip().lower(): path.strip() for name, _, path in pairs}


def _host(value: str) -> str:
    if not is_host(value):
        raise ValueError("it should be the name or the address of a machine, like redis.example.com")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    check_redis_url(value.get_secret_value())
    return value


def _cluster(value: bool, info: ValidationInfo) -> bool:
    url, number = info.data.get("redis_url"), info.data.get("redis_db")
    parts = urlsplit(url.get_secret_value() if url else f"redis:///{number or 0}")
    if value and (parts.scheme == "unix" or parts.path.strip("/") not in ("", "0")):
        raise ValueError("a cluster has no socket file and no database but 0")
    return value


def _read_token(value: SecretStr, info: ValidationInfo) -> SecretStr:
    if value == info.data.get("api_token"):
        raise ValueError("it is TBCACHE_API_TOKEN, with which one may do everything; it should be another")
    return value


_NO_SENTINELS = "it should be HOST:PORT,HOST:PORT,... of the Sentinels, like s1:26379,s2:26379"


def _addresses(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    if not found:
        raise ValueError(_NO_SENTINELS)
    return found


def _sentinels(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    for address in value:
        parts = urlsplit(f"//{address}")
        if not (has_sound_port(parts) and parts.port and is_host(parts.hostname or "")) or parts.path:
            raise ValueError(_NO_SENTINELS)
    url = info.data.get("redis_url")
    if value and url and urlsplit(url.get_secret_value()).scheme == "unix":
        raise ValueError("Sentinel watches no socket file; REDIS_URL should be redis://SERVICE/DB")
    if value and not (url or info.data.get("redis_host")):
        raise ValueError("it needs a REDIS_URL that says which service it is, as redis://SERVICE/DB")
    if value and info.data.get("redis_cluster"):
        raise ValueError("a cluster promotes its replicas itself; unset it, or REDIS_CLUSTER")
    return value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_sound_port(parts):
        raise ValueError("it should be https://HOST or http://HOST:PORT")
    return value


def _database_url(value: SecretStr) -> SecretStr:
    kind, mark, _ = value.get_secret_value().strip().partition("://")
    if kind not in DATABASES or not mark:
        # A text without such a beginning is left out: its password could not be told apart.
        known = "" if not mark else f"{kind!r} is not supported; "
        raise ValueError(f"{known}it should be like {DATABASE_EXAMPLES}")
    return value


def _namespace(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.\-]{1,64}", value):
        raise ValueError("it should be 1-64 letters, digits, dots, dashes or underscores")
    return value


def _market(value: str) -> str:
    if not re.fullmatch(r"[A-Z0-9/]{3,12}", value):
        raise ValueError("it should be the code of an exchange, like XNYS or XLON")
    return value


def _user_agent(value: str) -> str:
    if not re.fullmatch(r"[!-~]([ -~]{0,510}[!-~])?", value):
        raise ValueError("it should be 1-512 printable ASCII characters, as it becomes a header")
    return value


def _subreddits(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_\-]+(\+[A-Za-z0-9_\-]+)*", value):
        raise ValueError("it should be names joined by +, like stocks+investing")
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    secret_bytes(value.get_secret_value())
    return value


def _webhook_url(value: SecretStr, info: ValidationInfo) -> SecretStr:
    check_webhook_url(value.get_secret_value(), allow_http=bool(info.data.get("alert_allow_http")))
    if "alert_webhook_secret" in info.data and info.data["alert_webhook_secret"] is None:
        raise ValueError("it needs TBCACHE_ALERT_WEBHOOK_SECRET, by which the receiver knows that it was us")
    return value


def _alert_rules(value: str, info: ValidationInfo) -> str:
    rules = read_rules(value)
    if "sources" in info.data:
        check_rule_sources(rules, (*BUILT_IN_NAMES, *info.data["sources"]), NEAR)
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS)]


#: The fields of a source that say where it is, and those that nobody else may learn.
ADDRESSES = ("base_url", "auth_url")
CREDENTIALS = ("bearer_token", "client_id", "client_secret", "api_key", "access_token")


#: Where the value of a variable may be from.
Origin = Literal["environment", "runtime file"]


class SourceSettings(BaseModel):
    """What one source's variables say; None where they say nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    base_url: HttpUrl | None = None
    limits: Annotated[tuple[Limit, ...], BeforeValidator(_limits), Field(min_length=1)] | None = None
    cache_ttl: Seconds | None = None
    stale_ttl: Annotated[float, Field(ge=0, le=LONGEST_SECONDS)] | None = None
    charge: Charge | None = None
    daily_budget: Annotated[float, Field(ge=LEAST_DOLLARS, le=MOST_DOLLARS)] | None = None
    deepening_share: Annotated[float, Field(ge=0, le=1)] | None = None
    cost: PositiveInt | None = None
    pages: Annotated[int, Field(ge=1, le=MOST_PAGES)] | None = None
    pack: Annotated[int, Field(ge=1, le=MOST_PACKED)] | None = None
    delay_hours: Annotated[float, Field(ge=0, le=8760)] | None = None

    bearer_token: SecretStr | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    user_agent: Annotated[str, AfterValidator(_user_agent)] = "python:tbcache:v0.1 (by /u/tbcache)"
    auth_url: HttpUrl = "https://www.reddit.com"
    subreddits: Annotated[str, AfterValidator(_subreddits)] = "wallstreetbets+stocks+investing+options"
    query_filter: Annotated[str, AfterValidator(check_query_filter)] | None = None
    counts_budget: Annotated[float, Field(ge=LEAST_DOLLARS, le=MOST_DOLLARS)] | None = None
    api_key: SecretStr | None = None
    access_token: SecretStr | None = None


class Settings(BaseModel):
    """Every setting, read once. Build with :meth:`load`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = None
    redis_host: Annotated[str, AfterValidator(_host)] | None = None
    redis_port: Annotated[int, Field(ge=1, le=65535)] = 6379
    redis_password: SecretStr | None = None
    redis_db: Annotated[int, Field(ge=0)] = 0
    redis_ssl: bool = False
    redis_cluster: Annotated[bool, AfterValidator(_cluster)] = False
    redis_sentinels: Annotated[tuple[str, ...], BeforeValidator(_addresses), AfterValidator(_sentinels)] = ()
    redis_sentinel_password: SecretStr | None = None
    redis_timeout: Annotated[float, Field(gt=0, le=60)] = 0.25

    namespace: Annotated[str, AfterValidator(_namespace)] = "trading_bot"
    data_dir: Path = Path(".tbcache")
    database_url: Annotated[SecretStr, AfterValidator(_database_url)] | None = None
    #: Who has the first may do everything over HTTP, who has the other may read.
    api_token: SecretStr | None = None
    api_read_token: Annotated[SecretStr, AfterValidator(_read_token)] | None = None
    common_symbols: Annotated[tuple[str, ...], BeforeValidator(_symbols)] = COMMON_SYMBOLS
    common_hours: Annotated[int, Field(ge=1, le=LONGEST_HOURS)] = 24
    local_cache_bytes: Annotated[int, Field(ge=0)] = 16 * 1024 * 1024
    prewarm_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    #: The exchange by whose hours what is listed is kept warm, as in ISO 10383; None: at all hours.
    market: Annotated[str, AfterValidator(_market)] | None = None
    #: What nobody asks for is fetched so often while it is closed.
    off_hours_ttl: Seconds = 3600.0
    lease_seconds: Annotated[float, Field(gt=0, le=3600)] = 15.0
    #: It is off without the extra ``sql``, as there is nothing to write with.
    persist: bool = Field(default_factory=lambda: has("sqlalchemy"))
    #: 0 keeps everything for ever.
    keep_days: Annotated[int, Field(ge=0, le=36500)] = 90
    #: How much of what is posted counts: see ``tbcache.scoring.voices``.
    author_times: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    languages: Annotated[tuple[str, ...], BeforeValidator(_languages)] = ("en",)
    weigh_engagement: bool = False
    #: The folder, or the file, of a classifier that scores texts in the place of the lexicon.
    classifier: Path | None = None
    names: Annotated[dict[str, str], BeforeValidator(_names)] = Field(default_factory=dict)
    worker_name: str | None = None
    #: In whose name this process asks, and how much each caller gets of a queue: 1 where nothing is said.
    caller: Annotated[str, AfterValidator(check_caller)] | None = None
    caller_weights: Annotated[dict[str, float], BeforeValidator(read_weights)] = Field(default_factory=dict)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    #: What this process alone writes its log into, in place of stderr.
    log_file: Path | None = None
    sources: Annotated[dict[str, str], BeforeValidator(_pairs)] = Field(default_factory=dict)
    #: Of which troubles one is told after how long, and where to: see docs/alerts.md.
    alert_rules: Annotated[str, AfterValidator(_alert_rules)] = DEFAULT_RULES
    alert_allow_http: bool = False
    alert_webhook_secret: Annotated[SecretStr, AfterValidator(_webhook_secret)] | None = None
    alert_webhook_url: Annotated[SecretStr, AfterValidator(_webhook_url)] | None = None

    twitter: SourceSettings = SourceSettings()
    reddit: SourceSettings = SourceSettings()
    news: SourceSettings = SourceSettings()
    options: SourceSettings = SourceSettings()
    stocktwits: SourceSettings = SourceSettings()
    custom: dict[str, SourceSettings] = Field(default_factory=dict)

    _runtime_file_problem: str | None = PrivateAttr(default=None)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, data_dir: Path | None = None) -> Settings:
        """Read the environment and the runtime file of a running ``tbcache up``.

        Raises:
          ConfigurationError: names the variable, its value, and what would be right.
        """
        return cls.load_with_origins(environ, data_dir=data_dir)[0]

    @classmethod
    def load_with_origins(
        cls, environ: Mapping[str, str] | None = None, *, data_dir: Path | None = None
    ) -> tuple[Settings, dict[str, Origin]]:
        """The settings as :meth:`load` gives them, and where each variable that is set is from.

        Raises:
          ConfigurationError: see :meth:`load`.
        """
        env = dict(os.environ if environ is None else environ)
        if data_dir is not None:
            env[f"{PREFIX}DATA_DIR"] = str(data_dir)
        found = read_runtime_file(Path(env.get(f"{PREFIX}DATA_DIR") or ".tbcache"))
        settings, variables = cls._of(env), env
        # With another Redis than the runtime file's, its demo and its database are not meant either.
        if found.variables and settings.redis in (None, found.variables.get("REDIS_URL")):
            variables = _with_runtime_file(env, found.variables)
            settings = cls._of(variables)
        settings._runtime_file_problem = found.problem
        return settings, {
            name: "environment" if env.get(name) == value else "runtime file"
            for name, value in variables.items()
            if value and name.startswith((PREFIX, "REDIS_"))
        }

    @classmethod
    def _of(cls, variables: Mapping[str, str]) -> Settings:
        try:
            return cls(**_collect(variables))
        except ValidationError as error:
            raise ConfigurationError(_explain(error, variables)) from None

    @property
    def runtime_file_problem(self) -> str | None:
        """Why the runtime file was ignored, in one line; None where there is none, or it counts."""
        return self._runtime_file_problem

    def declared(self, name: str) -> SourceSettings:
        """What the variables say of a source that code declares; nothing, where there are none.

        A dash or a dot in ``name`` is an underscore in the variables' names.
        """
        return self.custom.get(_in_variables(name).lower(), SourceSettings())

    def source(self, name: str) -> SourceSettings:
        """The settings of one source, built in or the user's own."""
        if name in self.custom:
            return self.custom[name]
        if name in BUILT_IN_NAMES:
            return _checked(getattr(self, name))
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
        return frozenset(_secrets_in(self))

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


def _secrets_in(settings: BaseModel) -> Iterator[str]:
    for name, value in settings:
        if isinstance(value, SecretStr):
            yield from _parts_of(value.get_secret_value(), is_url=name.endswith("_url"))
        elif isinstance(value, str) and name in ADDRESSES:
            yield from _password_in(value)
        elif isinstance(value, BaseModel):
            yield from _secrets_in(value)
        elif isinstance(value, dict):
            for one in value.values():
                yield from _secrets_in(one) if isinstance(one, BaseModel) else ()


def _parts_of(secret: str, *, is_url: bool) -> Iterator[str]:
    """What is secret in it: of the URL of a server the password, of that of a webhook all behind the host."""
    if not is_url:
        yield secret
        return
    yield from _password_in(secret)
    parts = urlsplit(secret)
    if parts.scheme in ("http", "https"):
        yield from (parts.path, parts.query)


def _password_in(url: str) -> Iterator[str]:
    if password := urlsplit(url).password:
        yield unquote(password)


BUILT_IN_NAMES = tuple(
    name for name, field in Settings.model_fields.items() if field.annotation is SourceSettings
)
#: The field of each variable without our prefix.
REDIS_VARIABLES = {
    f"REDIS_{name}": f"redis_{name.lower()}"
    for name in ("URL", "HOST", "PORT", "PASSWORD", "DB", "SSL", "CLUSTER", "SENTINELS", "SENTINEL_PASSWORD")
}
#: The words for each error, by pydantic's name of it.
_PLAIN = {
    "int_parsing": "it should be a whole number",
    "float_parsing": "it should be a number",
    "bool_parsing": "it should be true or false",
    "string_type": "it should be text",
    "model_attributes_type": "it should be a JSON object",
    "missing": "it is missing",
    "extra_forbidden": "it is not known here",
}
#: The settings of the whole fleet that the runtime file may give: none that names code to run, no secret.
_FROM_RUNTIME_FILE = ("REDIS_URL", "TBCACHE_DATABASE_URL", "TBCACHE_NAMESPACE")


@singleton
def get_settings() -> Settings:
    """The settings of this process, read at the first call."""
    return Settings.load()


def address_of(url: str) -> str:
    """``url`` without its user and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _with_runtime_file(env: Mapping[str, str], written: Mapping[str, str]) -> dict[str, str]:
    """The variables in force; of the runtime file's, only those of a fixed list count.

    A source that only the runtime file has an address for is the demo's: its credentials are the file's
    too, and the user's own never reach an address that stands in a file.
    """
    variables = {**{name: written[name] for name in _FROM_RUNTIME_FILE if name in written}, **env}
    for source in BUILT_IN_NAMES:
        addresses, credentials = _variables_of(source, ADDRESSES), _variables_of(source, CREDENTIALS)
        if addresses[0] in written and not any(env.get(name) for name in addresses):
            variables |= dict.fromkeys(credentials, "")
            chosen = (*addresses, *credentials, *_variables_of(source, ("delay_hours",)))
            variables |= {name: written[name] for name in chosen if name in written}
    return variables


def variable(source: str, field: str) -> str:
    """The variable of one setting of ``source``."""
    return f"{PREFIX}{_in_variables(source)}__{field}".upper()


def _in_variables(source: str) -> str:
    """The name of ``source`` as variables have it: no shell sets one with a dash or a dot."""
    return re.sub(r"[.\-]", "_", source)


def _variables_of(source: str, fields: Iterable[str]) -> tuple[str, ...]:
    return tuple(variable(source, field) for field in fields)


def _checked(value: object) -> SourceSettings:
    assert isinstance(value, SourceSettings)  # noqa: S101 -- narrows getattr for the type checker
    return value


def _collect(variables: Mapping[str, str]) -> dict[str, Any]:
    """Turn variables into nested settings, refusing unknown names."""
    given: dict[str, Any] = {
        field: variables[name] for name, field in REDIS_VARIABLES.items() if variables.get(name)
    }
    custom = set(_custom_names(variables))
    for name, value in _ours(variables):
        field, _, nested = name.removeprefix(PREFIX).lower().partition("__")
        known_field = field in Settings.model_fields and field not in ("custom", *REDIS_VARIABLES.values())
        if nested and (field in BUILT_IN_NAMES or field in custom or _may_be_declared(field, nested, custom)):
            if nested not in SourceSettings.model_fields:
                raise ConfigurationError(_unknown(name))
            target = given if field in BUILT_IN_NAMES else given.setdefault("custom", {})
            target.setdefault(field, {})[nested] = value
        elif known_field and not nested and field not in BUILT_IN_NAMES:
            given[field] = value
        else:
            raise ConfigurationError(_unknown(name, custom))
    return given


def _may_be_declared(source: str, field: str, custom: Iterable[str]) -> bool:
    """True for what may be a setting of a source that code declares, which is not known here.

    Not where it is nearly that of a source that is known: it is likely to be a misspelling.
    """
    known = (*BUILT_IN_NAMES, *custom)
    is_source = source.isidentifier() and source not in Settings.model_fields
    is_setting = is_source and field in SourceSettings.model_fields
    return is_setting and not difflib.get_close_matches(source, known, n=1, cutoff=NEAR)


def _ours(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Our variables; an empty one counts as not set, as compose files leave them."""
    for name, value in sorted(variables.items()):
        if name.startswith(PREFIX) and value != "":
            yield name, value


def _unknown(name: str, custom: Iterable[str] = ()) -> str:
    if (bare := name.removeprefix(PREFIX)) in REDIS_VARIABLES:
        return f"{name} is no setting of tbcache; did you mean {bare}?"
    plain = [
        f for f in Settings.model_fields if f not in (*BUILT_IN_NAMES, "custom", *REDIS_VARIABLES.values())
    ]
    known = [f"{PREFIX}{field.upper()}" for field in plain]
    known += [
        f"{PREFIX}{source.upper()}__{field.upper()}"
        for source in (*BUILT_IN_NAMES, *custom)
        for field in SourceSettings.model_fields
    ]
    by_lower = {option.lower(): option for option in known}
    hint = nearest(name, by_lower)
    for lower, option in by_lower.items():
        hint = hint.replace(repr(lower), option)
    return f"{name} is no setting of tbcache{hint}"


def _explain(error: ValidationError, variables: Mapping[str, str]) -> str:
    """One line for the first thing wrong: the variable, its value, what would be right."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    path = path[1:] if path[0] == "custom" else path
    if path[0] in Settings.model_fields and path[0] not in BUILT_IN_NAMES:
        path = path[:1]
    field = "__".join(part.upper() for part in path[:2])
    name = next((n for n, f in REDIS_VARIABLES.items() if f == path[0]), f"{PREFIX}{field}")
    secret = any(word in name for word in ("TOKEN", "SECRET", "KEY", "PASSWORD", "URL"))
    value = "(hidden)" if secret and "__BASE_URL" not in name else repr(variables.get(name, ""))
    return f"{name}={value} is not valid: {in_plain_words(first)}"


def in_plain_words(error: Mapping[str, Any]) -> str:
    """What would be right, of an error that pydantic tells of."""
    if words := _PLAIN.get(error["type"]):
        return words
    reason: str = error["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    reason = reason.replace("greater than or equal to", "at least").replace(
        "less than or equal to", "at most"
    )
    return reason[:1].lower() + reason[1:]


def _custom_names(variables: Mapping[str, str]) -> tuple[str, ...]:
    """The user's own sources; a malformed list has none, and is refused when it is validated."""
    parts = variables.get(f"{PREFIX}SOURCES", "").split(",")
    return tuple(name.strip().lower() for name, _, path in (part.partition("=") for part in parts) if path)
