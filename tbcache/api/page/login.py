"""Where a browser gives the token once, and has a cookie for it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tbcache.api.context import Ctx
from tbcache.api.page.form import local_path, read_form
from tbcache.api.page.render import page
from tbcache.api.session import COOKIE, SECONDS, new_session

router = APIRouter(include_in_schema=False)


@router.get("/login")
def show(context: Ctx, back: str = "/") -> HTMLResponse:
    return page("login.html", back=local_path(back), is_wrong=False, has_token=context.tokens.are_set)


@router.post("/login")
async def login(request: Request, context: Ctx) -> Response:
    form = await read_form(request)
    back = local_path(form.get("back", "/"))
    if not context.tokens.are_set:
        return RedirectResponse(back, 303)
    token = context.tokens.named(form.get("token", ""))
    if token is None:
        return page("login.html", 401, back=back, is_wrong=True, has_token=True)
    answer = RedirectResponse(back, 303)
    answer.set_cookie(
        COOKIE,
        new_session(token),
        max_age=SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
def logout() -> Response:
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
