"""Does what a button of the page is for, once its question is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tbcache.api.context import Ctx
from tbcache.api.page import cache_verb, job_verb, source_verb
from tbcache.api.page.form import FIELD, local_path, name_of, read_form, remember, who
from tbcache.api.page.live import live_of
from tbcache.api.page.render import page
from tbcache.api.page.verb import Doing, Question, Verb
from tbcache.api.security import check_act
from tbcache.api.session import set_cookie
from tbcache.io import random_id
from tbcache.models.error import InvalidRequest

VERBS: Mapping[str, Verb] = {
    **source_verb.VERBS,
    **job_verb.VERBS,
    **cache_verb.VERBS,
}
#: What was done last is told by a cookie, which no link can forge as it could a query: for so long, in so
#: many characters. Before it stands the act that it is of: another tab may have done something since.
DONE, DONE_SECONDS, MOST_TEXT = "tbcache_done", 300, 600

router = APIRouter(include_in_schema=False)


@router.post("/act/{name}")
async def act(request: Request, context: Ctx, name: str) -> Response:
    """Ask what is meant, and with ``sure=yes`` do it: then a page is shown that may be loaded again."""
    check_act(request, context.tokens)
    verb = _verb(name)
    fields = await read_form(request)
    back, is_sure = local_path(fields.get("back", "/")), fields.get("sure") == "yes"
    do = Doing(context.fleet, context.fleet.as_operator(who(request, fields)), fields)
    wrong = ""
    if is_sure:
        try:
            text = await asyncio.to_thread(verb.act, do)
        except InvalidRequest as error:
            # What was typed is asked for once more, as it was typed.
            wrong = str(error)
        else:
            live_of(request).forget()
            return _done(request, name, text, back, fields)
    if verb.is_of_many:
        now = await asyncio.to_thread(lambda: do.operator.now(do.source))
        fields |= {"until": str(round(now.timestamp() * 1_000_000))}
    asked = await asyncio.to_thread(verb.ask, do)
    question = Question(asked) if isinstance(asked, str) else asked
    if question.of:
        fields |= {"count": str(question.of)}
    return page(
        "sure.html",
        422 if wrong else 200,
        verb=verb,
        name=name,
        question=question,
        wrong=wrong,
        by=name_of(request, fields),
        back=back,
        command=verb.twin(fields),
        typed=fields,
        fields={key: value for key, value in fields.items() if key not in _asked(verb)},
    )


def _asked(verb: Verb) -> tuple[str, ...]:
    """The fields that are asked for with the question."""
    return ("back", "sure", FIELD, *verb.inputs)


@router.get("/done/{name}")
def done(request: Request, name: str, back: str = "/", of: str = "") -> HTMLResponse:
    """What was done; by now only the audit has it where that was long ago, or more was done since."""
    act, _, text = request.cookies.get(DONE, "").partition(".")
    said = unquote(text) if act == of else ""
    return page(
        "done.html", verb=_verb(name), text=said or "The audit has what was done.", back=local_path(back)
    )


def _done(request: Request, name: str, text: str, back: str, fields: Mapping[str, str]) -> Response:
    act = random_id(8)
    answer = RedirectResponse(f"/done/{name}?{urlencode({'back': back, 'of': act})}", 303)
    set_cookie(request, answer, DONE, f"{act}.{quote(text[:MOST_TEXT], safe='')}", DONE_SECONDS, "/done")
    remember(request, answer, fields)
    return answer


def _verb(name: str) -> Verb:
    if name not in VERBS:
        raise HTTPException(404, f"there is no {name[:40]!r} to do")
    return VERBS[name]
