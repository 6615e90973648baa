"""The body of a form of the page, and who has sent it, for the audit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote

from fastapi import HTTPException, Request, Response

from tbcache.api.session import set_cookie
from tbcache.fleet import WHO

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


#: The field of a form in which somebody gives their name, which a cookie keeps for the next time.
FIELD, COOKIE, COOKIE_SECONDS = "by", "tbcache_by", 365 * 86_400
#: Who gives none.
NOBODY = "page"
_NOT_OF_A_NAME = re.compile(r"[^\w.\-]+")


def name_of(request: Request, fields: Mapping[str, str]) -> str:
    """The name that the form has, else that of the cookie; "" for none. A name has no blanks."""
    text = fields.get(FIELD, "").strip() or unquote(request.cookies.get(COOKIE, ""))
    return _NOT_OF_A_NAME.sub(".", text).strip(".")[: WHO // 2]


def who(request: Request, fields: Mapping[str, str]) -> str:
    """As the audit has it. As on the command line the name is what they say; the address is known."""
    host = request.client.host if request.client else ""
    name = name_of(request, fields) or NOBODY
    return f"{name}@{_NOT_OF_A_NAME.sub(':', host)}"[:WHO] if host else name


def remember(request: Request, answer: Response, fields: Mapping[str, str]) -> None:
    """Have the browser keep the name that was given."""
    if fields.get(FIELD, "").strip():
        set_cookie(request, answer, COOKIE, quote(name_of(request, fields), safe=""), COOKIE_SECONDS, "/act")
