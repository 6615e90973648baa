"""The faults that ``POST /_faults`` sets, for one source or for all (``"*"``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    model_validator,
)

from tbcache.models import Limit
from tbcache.models.error import InvalidRequest, nearest

EVERY = "*"


LONGEST_LATENCY = 600.0


def _limits(value: object) -> object:
    if isinstance(value, str):
        return Limit.parse_all(value) if value else ()
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(Limit.parse(part) for part in value)
    raise ValueError("limits are text, like 10/2s or 300/15m,10000/1d")


def _span(value: object) -> object:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2 and all(type(part) in (int, float) for part in value):
        least, most = value
        if 0 <= least <= most <= LONGEST_LATENCY:
            return float(least), float(most)
    raise ValueError(f"latency is [MIN, MAX] seconds, at most {LONGEST_LATENCY:.0f}, like [0.05, 0.3]")


class Fault(BaseModel):
    """The faults of one source; by default there are none.

    ``latency`` replaces that of the simulator. ``limits`` apply in addition to those of the source, from now
    on. ``plan`` switches the account to another plan, for news from ``free`` to ``paid``. With ``envelope``
    every request gets the same recorded answer. ``garbage`` cuts an answer with status 200 in half, ``empty``
    leaves nothing of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    latency: Annotated[tuple[float, float] | None, BeforeValidator(_span)] = None
    error_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    status: Annotated[int, Field(ge=400, le=599)] = 503
    outage: Literal[True, False, "drop"] = False
    limits: Annotated[tuple[Limit, ...], BeforeValidator(_limits)] = ()
    quota: Literal["exhausted"] | None = None
    garbage: bool = False
    empty: bool = False
    plan: str | None = None
    envelope: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _status_alone_means_always(cls, given: Any) -> Any:
        if isinstance(given, dict) and "status" in given and "error_rate" not in given:
            return {**given, "error_rate": 1.0}
        return given

    @field_serializer("limits")
    def _as_text(self, limits: tuple[Limit, ...]) -> list[str]:
        return [str(limit) for limit in limits]

    def as_data(self) -> dict[str, Any]:
        """The fields that are set, as JSON data."""
        changed = {name for name, field in Fault.model_fields.items() if getattr(self, name) != field.default}
        return self.model_dump(mode="json", include=changed)


def parse_faults(data: object, sources: Iterable[str]) -> dict[str, Fault]:
    """The faults by source in ``{"reddit": {"outage": true}, "*": {...}}``; a named source overrides ``*``.

    Raises:
      InvalidRequest: one line that names the field and the nearest right one.
    """
    known = tuple(sources)
    if not isinstance(data, Mapping):
        raise InvalidRequest('faults are an object by source, like {"reddit": {"outage": true}}')
    for name in data:
        if name not in (*known, EVERY):
            raise InvalidRequest(
                f"unknown source {name!r}{nearest(name, known)} (known: {', '.join(known)}, *)"
            )
    parsed = {name: _parse(name, fault) for name, fault in data.items()}
    everywhere = dict.fromkeys(known, parsed[EVERY]) if EVERY in parsed else {}
    return everywhere | {name: fault for name, fault in parsed.items() if name != EVERY}


def _parse(source: str, data: object) -> Fault:
    try:
        return Fault.model_validate(data)
    except ValidationError as error:
        raise InvalidRequest(_explain(source, error)) from None


def _explain(source: str, error: ValidationError) -> str:
    first = error.errors()[0]
    if not first["loc"]:
        return f'{source}: faults are an object, like {{"outage": true}}'
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        known = ", ".join(Fault.model_fields)
        return f"{source}.{field} is no fault{nearest(field, Fault.model_fields)} (known: {known})"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{source}.{field}={first['input']!r} is not valid: {reason[:1].lower()}{reason[1:]}"
