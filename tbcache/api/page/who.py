"""Who acts on the page, for the audit: the name that they give, and the address that they come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from fastapi import Request, Response

from tbcache.api.session import set_cookie
from tbcache.fleet import WHO

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
