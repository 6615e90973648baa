"""What the command line prints as JSON, and the HTTP API answers, is declared once."""

from __future__ import annotations

from typing import Any, ClassVar


class Shape:
    """The base of a frozen dataclass that is an answer as it stands, field by field.

    A text behind a field says what it means: the API's documentation has it. That is what pydantic is told
    here, which a bot does not install.
    """

    __slots__ = ()
    __pydantic_config__: ClassVar[Any] = {
        "use_attribute_docstrings": True,
        "json_schema_serialization_defaults_required": True,
    }
