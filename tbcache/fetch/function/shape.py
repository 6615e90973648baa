"""A short hash of how an annotation says that a value is read. Processes with the same code have the same
hash.

It is a part of the cache key. Two versions of a program may run side by side, as during a deployment. Without
the hash, each would remove what the other has loaded because it cannot read it, and would load it again at
every call, until no slot is left.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

DIGITS = 6
#: These parts of a schema do not say how a value is read. Besides, a default may be a set, whose order is
#: random.
_REMARKS = {"title", "description", "default", "examples"}


def shape(annotation: Any) -> str:
    """The hash; "" where the annotation says nothing, or has no schema."""
    try:
        schema = msgspec.json.schema(annotation, schema_hook=_schema)
        text = msgspec.json.encode(_bare(schema), order="sorted")
    except Exception:  # code of the user's model runs here, and may raise anything
        return ""
    return hashlib.blake2b(text).hexdigest()[:DIGITS] if schema else ""


def _schema(kind: Any) -> dict[str, Any]:
    found: dict[str, Any] = {} if kind is object else kind.model_json_schema(by_alias=False)
    return found


def _bare(schema: Any) -> Any:
    """The schema without remarks. A field of the user's that has the name of a remark stays."""
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _bare(one) for key, one in schema.items() if key not in _REMARKS or _is_field(one)}


def _is_field(one: object) -> bool:
    return isinstance(one, dict) and not {"type", "anyOf", "$ref"}.isdisjoint(one)
