"""Why pydantic refuses a value, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def in_plain_words(error: Mapping[str, Any]) -> str:
    """What would be right, of an error that pydantic tells of."""
    if words := _PLAIN.get(error["type"]):
        return words
    reason: str = error["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    reason = reason.replace("greater than or equal to", "at least").replace(
        "less than or equal to", "at most"
    )
    return reason[:1].lower() + reason[1:]
