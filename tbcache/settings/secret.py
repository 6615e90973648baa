"""What is secret among the settings, and what may be shown of a URL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any
from urllib.parse import unquote, urlsplit

from tbcache.models.secret import SecretStr

#: The fields of a source that say where it is, and those that nobody else may learn.
ADDRESSES = ("base_url", "auth_url")
CREDENTIALS = ("bearer_token", "client_id", "client_secret", "api_key", "access_token")


def hide(settings: Any) -> None:
    """Have credentials that code gave as text, or as pydantic's secrets, be none that show themselves."""
    for one in fields(settings):
        value = getattr(settings, one.name)
        if "SecretStr" in str(one.type) and not isinstance(value, SecretStr | None):
            text = value if isinstance(value, str) else value.get_secret_value()
            object.__setattr__(settings, one.name, SecretStr(text))


def secrets_in(settings: object) -> Iterator[str]:
    """All credentials among the settings of the fleet, or of one source; those in the URLs included."""
    for name, value in vars(settings).items():
        if isinstance(value, SecretStr):
            yield from _parts_of(value.get_secret_value(), is_url=name.endswith("_url"))
        elif isinstance(value, str) and name in ADDRESSES:
            yield from _password_in(value)


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


def address_of(url: str) -> str:
    """``url`` without its user and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
