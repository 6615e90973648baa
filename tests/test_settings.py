"""How the value of each variable is read, and what a mistake is told."""

from __future__ import annotations

import pickle
from dataclasses import replace
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tbcache.models.error import ConfigurationError
from tbcache.models.secret import SecretStr
from tbcache.settings import FIELDS, Settings, SourceSettings
from tbcache.settings.default import checked
from tbcache.store.codec import encode


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("REDIS_PORT", " 6380 ", 6380),
        ("REDIS_PORT", "6380.0", 6380),
        ("REDIS_SSL", "Yes", True),
        ("REDIS_SSL", "off", False),
        ("REDIS_TIMEOUT", "1", 1.0),
        ("LOCAL_CACHE_BYTES", "9007199254740993", 9007199254740993),
        ("LOCAL_CACHE_BYTES", "1.6777216e+07", 16777216),
        ("CLASSIFIER", "/models/a", Path("/models/a")),
        ("LANGUAGES", '["en","de"]', ("en", "de")),
        ("NAMES", "SQ=Block|Cash App", {"SQ": "Block|Cash App"}),
        ("CALLER_WEIGHTS", "a=2,b/c=0.5", {"a": 2.0, "b/c": 0.5}),
        ("SOURCES", "Bluesky=mybot:Bluesky", {"bluesky": "mybot:Bluesky"}),
    ],
)
def test_a_value_is_read_as_its_field_has_it(variable: str, text: str, value: object) -> None:
    """Templates of charts and compose files write numbers in forms of their own."""
    name = variable if variable in ("REDIS_PORT", "REDIS_SSL") else f"TBCACHE_{variable}"
    found = getattr(Settings.load({name: text}), variable.lower())
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"REDIS_PORT": "5.5"}, "REDIS_PORT='5.5' is not valid: it should be a whole number"),
        ({"REDIS_PORT": "0"}, "REDIS_PORT='0' is not valid: it should be at least 1"),
        ({"TBCACHE_KEEP_DAYS": "inf"}, "it should be a whole number"),
        # Python's int() takes it for 3.
        ({"TBCACHE_KEEP_DAYS": "\u0663"}, "it should be a whole number"),
        ({"TBCACHE_LEASE_SECONDS": "nan"}, "it should be a number"),
        ({"TBCACHE_LEASE_SECONDS": "0"}, "it should be greater than 0"),
        ({"TBCACHE_STOP_SECONDS": "0.5"}, "it should be at least 1"),
        ({"TBCACHE_OFF_HOURS_TTL": "1e300"}, "it should be at most 315360000"),
        ({"TBCACHE_TWITTER__DAILY_BUDGET": "0"}, "it should be at least 0.000001"),
        ({"TBCACHE_LOG_LEVEL": "loud"}, "it should be 'debug', 'info', 'warning' or 'error'"),
        ({"TBCACHE_COMMON_SYMBOLS": "[1]"}, 'it should be a list like A,B or ["A","B"]'),
        ({"TBCACHE_ALPHA_LIMITS": "5/1m"}, "did you mean TBCACHE_ALPHA__LIMITS?"),
        ({"TBCACHE_TWITER_LIMITS": "5/1m"}, "did you mean TBCACHE_TWITTER__LIMITS?"),
        ({"TBCACHE_ALPHA__TTL": "60"}, "did you mean TBCACHE_ALPHA__CACHE_TTL?"),
        ({"TBCACHE_REDDIT__STALE": "60"}, "did you mean TBCACHE_REDDIT__STALE_TTL?"),
        ({"TBCACHE_ALPHA__COST": "x"}, "TBCACHE_ALPHA__COST='x' is not valid: it should be a whole number"),
        ({"REDIS_URL": "redis://h/1", "REDIS_CLUSTER": "1"}, "REDIS_CLUSTER='1' is not valid: a cluster has"),
        ({"REDIS_DB": "1", "REDIS_CLUSTER": "1"}, "a cluster has no socket file and no database but 0"),
        ({"REDIS_SENTINELS": "s:1"}, "REDIS_SENTINELS='s:1' is not valid: it needs a REDIS_URL"),
        (
            {"REDIS_HOST": "h", "REDIS_SENTINELS": "s:1", "REDIS_CLUSTER": "1"},
            "a cluster promotes its replicas itself",
        ),
        (
            {"TBCACHE_API_TOKEN": "hunter2-hunter2-", "TBCACHE_API_READ_TOKEN": "hunter2-hunter2-"},
            "TBCACHE_API_READ_TOKEN=(hidden) is not valid: it is TBCACHE_API_TOKEN",
        ),
        # Such a sign is a colon to Python, whose own words would quote the password.
        *(
            (
                {"REDIS_HOST": host, "REDIS_PASSWORD": "hunter2", "REDIS_CLUSTER": "1"},
                "the address of a machine",
            )
            for host in ("redis.example.com\uff1a6379", "h:6380", "::1", "h/x", "u@h", "h#x")
        ),
        ({"TBCACHE_REDDIT__AUTH_URL": "https://u\uff1ahunter2@h"}, "it should be https://HOST"),
        ({"TBCACHE_SOURCES": "blue=a:B", "TBCACHE_ALERT_RULES": "closed@bluee:5m"}, "did you mean 'blue'?"),
    ],
)
def test_what_is_wrong_is_told_with_its_variable(variables: dict[str, str], told: str) -> None:
    """Also what is right by itself, and not beside another setting."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(variables)
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_every_setting_of_a_source_can_be_of_one_that_code_declares() -> None:
    """Whatever it is called: a field of ours is no reason to refuse its name."""
    settings = Settings.load({"TBCACHE_CUSTOM__COST": "2", "TBCACHE_REDDIT__COST": "3"})
    assert (settings.declared("custom").cost, settings.reddit.cost) == (2, 3)
    assert settings.declared("another") == SourceSettings()


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ({"limits": ("30/1m",)}, "it should be like '300/15m,10000/1d'"),
        ({"base_url": 5}, "it should be text"),
        ({"pages": object()}, "it should be a whole number"),
        ({"cache_ttl": 10**400}, "it should be at most 315360000"),
        ({"price": {"per_item": 1}}, "it should be a tbcache.models.Price"),
    ],
)
def test_what_code_says_is_checked_as_its_variable_would_be(said: dict[str, Any], right: str) -> None:
    """A figure of another type would be found at the first job."""
    with pytest.raises(ConfigurationError, match=r"^it has .*, which is not valid: ") as caught:
        checked("it has", said)
    assert str(caught.value).endswith(right)


def test_a_secret_is_not_shown_and_not_stored() -> None:
    """It travels with the settings, which are printed when something goes wrong."""
    secret = SecretStr("hunter2")
    settings = Settings.load(
        {"REDIS_URL": "redis://:hunter2@h/0", "TBCACHE_TWITTER__BEARER_TOKEN": "hunter2"}
    )
    assert "hunter2" not in f"{secret} {secret!r} {settings} {settings!r}"
    for write in (encode, msgspec.json.encode):
        with pytest.raises(TypeError):
            write(secret)
    assert pickle.loads(pickle.dumps(secret)) == secret == settings.twitter.bearer_token  # noqa: S301
    assert (secret == "hunter2", secret != SecretStr("another")) == (False, True)


def test_a_secret_that_code_gives_as_text_is_not_shown_either() -> None:
    class Foreign:
        """As pydantic's."""

        def get_secret_value(self) -> str:
            return "hunter3"

    foreign: Any = Foreign()
    text: Any = "hunter2"
    twitter = SourceSettings(bearer_token=text, api_key=foreign)
    settings = replace(Settings(redis_host="h", redis_password=text), twitter=twitter)
    assert settings.redis == "redis://:hunter2@h:6379/0"
    assert settings.secrets == {"hunter2", "hunter3"}
    assert "hunter" not in f"{settings!r}"


def test_a_word_or_a_number_of_another_type_is_read_as_what_it_is() -> None:
    class Charge(str, Enum):  # noqa: UP042  another than its word as text
        FETCH = "fetch"

    found = checked("it has", {"charge": Charge.FETCH, "daily_budget": Decimal("1.5")})
    assert (found["charge"], type(found["charge"]), found["daily_budget"]) == ("fetch", str, 1.5)


def test_each_setting_is_read() -> None:
    """A field without a reader could not be set."""
    others = {*FIELDS.built_in, "custom", "reading"}
    assert set(FIELDS.settings) == set(Settings.__dataclass_fields__) - others
    assert set(FIELDS.source) == set(SourceSettings.__dataclass_fields__)
