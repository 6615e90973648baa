"""What all that the API takes and answers has in common."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

#: Limits, each as an operator writes it.
LimitTexts = Annotated[tuple[str, ...], BeforeValidator(lambda limits: tuple(map(str, limits)))]
#: What a name of a filter has that is left out. As a value null is refused: it would mean all, by whom no
#: value was found.
LEFT_OUT: Any = None


class Schema(BaseModel):
    """Reads dataclasses; times are UTC, money US dollars, durations seconds."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class RequestBody(BaseModel):
    """A body: what is not known in it, and a number that is a text or ``true``, may be meant otherwise."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Nothing(RequestBody):
    """An object of nothing: for a client that always sends one. What would be in it would go unheard."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class Error(Schema):
    """What went wrong, in the form of RFC 9457 (``application/problem+json``)."""

    type: str = Field(description="What kind of error it is: `about:blank`, or its place in `/docs`.")
    title: str = Field(description="That kind in words; of `about:blank` the name of the status.")
    status: int
    detail: str = Field(description="What went wrong, in one line.")
    instance: str | None = Field(None, description="The path that was asked for.")
    error: str = Field(description="The same line as `detail`.")
    source: str | None = Field(None, description="Of which source or queue.")
    retry_at: datetime | None = Field(None, description="When it may be tried again, where that is known.")
