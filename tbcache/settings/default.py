"""What code says of a source, as a class in ``defaults``: each value is checked as its variable would be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tbcache.models.error import ConfigurationError
from tbcache.models.price import Price
from tbcache.models.request import LONGEST_HOURS
from tbcache.models.untrusted import quoted
from tbcache.settings.field import WrongValue, read_fields
from tbcache.settings.reader import number, whole
from tbcache.settings.upstream import READERS


def _price(price: object) -> Price:
    if not isinstance(price, Price):
        raise ValueError("it should be a tbcache.models.Price")
    figures = (price.per_request, price.per_item, price.per_user, price.page_items, price.page_users)
    if not all(isinstance(one, int | float) and 0 <= one < math.inf for one in figures):
        raise ValueError("its figures should be numbers of at least 0")
    return price


def _credentials(names: object) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("it should be like ('api_key',)")
    return tuple(names)


_READERS = READERS | {
    # These have no variable.
    "price": _price,
    "max_hours": whole(1, LONGEST_HOURS),
    "lag_seconds": number(0, 86400),
    "recheck_seconds": number(0, LONGEST_HOURS * 3600),
    "credentials": _credentials,
}


def checked(where: str, given: Mapping[str, Any], words: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The values in ``given``, which are all of known fields, each as its field has it; None says nothing.

    Raises:
      ConfigurationError: one is no value of its field; says which, in one line that begins with ``where``,
        by what code calls it in ``words``, where that is not the field's name.
    """
    try:
        return read_fields(_READERS, {field: value for field, value in given.items() if value is not None})
    except WrongValue as error:
        name, value = (words or {}).get(error.field, error.field), quoted(given[error.field])
        raise ConfigurationError(f"{where} {name}={value}, which is not valid: {error}") from None
