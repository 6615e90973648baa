"""Where a browser gives the token once, and has a cookie for it."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tbcache.api.context import Ctx
from tbcache.api.guess import SHUT
from tbcache.api.page.form import local_path, read_form
from tbcache.api.page.render import page
from tbcache.api.security import check_own_page
from tbcache.api.session import COOKIE, SECONDS, new_session, set_cookie

router = APIRouter(include_in_schema=False)


@router.get("/login")
def show(request: Request, context: Ctx, back: str = "") -> HTMLResponse:
    return page(
        "login.html",
        back=local_path(back or _came_from(request)),
        refusal="",
        has_token=context.tokens.are_set,
        scope=context.tokens.scope_of_page(request.headers),
    )


def _came_from(request: Request) -> str:
    """The page of this site that links here; the first one where that is not known."""
    place = urlsplit(request.headers.get("referer", ""))
    is_ours = place.netloc == request.headers.get("host") and not place.path.startswith("/act/")
    return place._replace(scheme="", netloc="", fragment="").geturl() if is_ours else "/"


@router.post("/login")
async def login(request: Request, context: Ctx) -> Response:
    check_own_page(request)
    form = await read_form(request)
    back = local_path(form.get("back", "/"))
    if not context.tokens.are_set:
        return RedirectResponse(back, 303)
    shown = form.get("token", "")
    if seconds := context.guesses.seconds_shut(request.scope):
        return _again(back, SHUT, 429, seconds)
    token = context.tokens.named(shown)
    if token is None:
        context.guesses.count(request.scope, shown)
        return _again(back, "That is not the token.", 401)
    answer = RedirectResponse(back, 303)
    set_cookie(request, answer, COOKIE, new_session(token), SECONDS)
    return answer


def _again(back: str, refusal: str, status: int, seconds: int | None = None) -> Response:
    answer = page("login.html", status, back=back, refusal=refusal, has_token=True, scope=None)
    if seconds is not None:
        answer.headers["Retry-After"] = str(seconds)
    return answer


@router.post("/logout")
def logout(request: Request) -> Response:
    check_own_page(request)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
