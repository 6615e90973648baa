"""Whether who looks at a page may use its buttons."""

from __future__ import annotations

from fastapi import Request

from tbcache.api.address import is_of_this_machine
from tbcache.api.context import get_context
from tbcache.api.security import LOG_IN, NOT_LOCAL, ONLY_READS


def barred(request: Request) -> str:
    """Why an act of whoever asks would be refused (`check_act`); nothing where it would not."""
    tokens = get_context(request).tokens
    if not tokens.act:
        return "" if is_of_this_machine(request.scope, request.headers) else NOT_LOCAL
    scope = tokens.scope_of_page(request.headers)
    return {"act": "", "read": ONLY_READS}.get(scope or "", LOG_IN)
