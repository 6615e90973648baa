"""The body of a form of the page."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import HTTPException, Request

FORM = "application/x-www-form-urlencoded"
#: More fields than any form of the page has.
MOST_FIELDS = 20


async def read_form(request: Request) -> dict[str, str]:
    """The fields by their names; of a name that comes twice the last.

    Raises:
      HTTPException: 415 for another type of body, 422 for one that is no form.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise HTTPException(415, f"the body must be a form: {FORM}")
    try:
        text = (await request.body()).decode()
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise HTTPException(422, "the body is no form") from None


def local_path(text: str) -> str:
    """``text``, where it is a path of this site; else the first page."""
    is_of_site = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_of_site else "/"
