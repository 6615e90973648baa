"""What code says of a source, as a class in ``defaults``: each value is checked as its variable would be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from tbcache.models.error import ConfigurationError
from tbcache.models.price import Price
from tbcache.models.request import LONGEST_HOURS
from tbcache.models.untrusted import quoted
from tbcache.settings.model import SourceSettings
from tbcache.settings.variable import in_plain_words

#: The right form of those fields of which pydantic speaks in its own terms.
_RIGHT = {
    "limits": "it should be like '300/15m,10000/1d'",
    "price": "it should be a tbcache.models.Price",
    "credentials": "it should be like ('api_key',)",
}


def _sound(price: Price) -> Price:
    figures = (price.per_request, price.per_item, price.per_user, price.page_items, price.page_users)
    if not all(isinstance(one, int | float) and 0 <= one < math.inf for one in figures):
        raise ValueError("its figures should be numbers of at least 0")
    return price


class _Further(BaseModel):
    """The fields that have no variable."""

    price: Annotated[Price, AfterValidator(_sound)] | None = None
    max_hours: Annotated[int, Field(ge=1, le=LONGEST_HOURS)] | None = None
    lag_seconds: Annotated[float, Field(ge=0, le=86400)] | None = None
    recheck_seconds: Annotated[float, Field(ge=0, le=LONGEST_HOURS * 3600)] | None = None
    credentials: tuple[str, ...] = ()


def checked(where: str, given: Mapping[str, Any], words: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The values in ``given``, which are all of known fields, each as its field has it; None says nothing.

    Raises:
      ConfigurationError: one is no value of its field; says which, in one line that begins with ``where``,
        by what code calls it in ``words``, where that is not the field's name.
    """
    said = {field: value for field, value in given.items() if value is not None}
    models = (SourceSettings, _Further)
    try:
        valid = {kind: kind.model_validate(_of(kind, said)) for kind in models}
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        is_ours = field not in _RIGHT or first["type"] == "value_error"
        right = in_plain_words(first) if is_ours else _RIGHT[field]
        value = quoted(said[field])
        raise ConfigurationError(
            f"{where} {(words or {}).get(field, field)}={value}, which is not valid: {right}"
        ) from None
    return {field: getattr(valid[kind], field) for kind in models for field in _of(kind, said)}


def _of(kind: type[BaseModel], said: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in said.items() if field in kind.model_fields}
