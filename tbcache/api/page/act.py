"""Does what a button of the page is for, once its question is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from tbcache.api.context import Ctx
from tbcache.api.page import cache_verb, job_verb, source_verb
from tbcache.api.page.form import local_path, read_form
from tbcache.api.page.live import live_of
from tbcache.api.page.render import page
from tbcache.api.page.verb import Doing, Verb
from tbcache.api.security import check_act

VERBS: Mapping[str, Verb] = {**source_verb.VERBS, **job_verb.VERBS, **cache_verb.VERBS}
#: Who did it, for the audit.
WHO = "page"

router = APIRouter(include_in_schema=False)


@router.post("/act/{name}")
async def act(request: Request, context: Ctx, name: str) -> HTMLResponse:
    """Ask what is meant, and with ``sure=yes`` do it."""
    check_act(request, context.tokens)
    verb = VERBS.get(name)
    if verb is None:
        raise HTTPException(404, f"there is no {name[:40]!r} to do")
    fields = await read_form(request)
    back, is_sure = local_path(fields.get("back", "/")), fields.get("sure") == "yes"
    do = Doing(context.fleet, context.fleet.as_operator(WHO), fields)
    text = await asyncio.to_thread(verb.act if is_sure else verb.ask, do)
    live_of(request).forget()
    return page(
        "done.html" if is_sure else "sure.html",
        verb=verb,
        name=name,
        text=text,
        back=back,
        command=verb.twin(fields),
        fields={key: value for key, value in fields.items() if key not in ("back", "sure", *verb.inputs)},
    )
