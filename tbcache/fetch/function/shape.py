"""How an annotation has a value read, in a few digits: the same in each process that has the same code.

Versions of a program that run side by side, as while it is being deployed, would each remove what the other
has loaded, and load it anew at every call, until no slot is left.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

DIGITS = 6
#: The parts of a schema that are not about how a value is read. A default may be a set, which has no order.
_REMARKS = {"title", "description", "default", "examples"}


def shape(annotation: Any) -> str:
    """The digits; empty where the annotation leaves all open, or has no schema."""
    try:
        schema = msgspec.json.schema(annotation, schema_hook=_schema)
        text = msgspec.json.encode(_bare(schema), order="sorted")
    except Exception:  # a model of the user's may raise anything
        return ""
    return hashlib.blake2b(text).hexdigest()[:DIGITS] if schema else ""


def _schema(kind: Any) -> dict[str, Any]:
    found: dict[str, Any] = {} if kind is object else kind.model_json_schema(by_alias=False)
    return found


def _bare(schema: Any) -> Any:
    """The schema without remarks; a field that is called as one is none."""
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _bare(one) for key, one in schema.items() if key not in _REMARKS or _is_field(one)}


def _is_field(one: object) -> bool:
    return isinstance(one, dict) and not {"type", "anyOf", "$ref"}.isdisjoint(one)
