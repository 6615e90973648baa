"""The scripts and styles of the pages."""

from __future__ import annotations

import mimetypes

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from tbcache.api.etag import FOREVER
from tbcache.api.page.render import HEADERS, STATIC, digest_of

router = APIRouter(include_in_schema=False)


@router.get("/static/{name}")
def static(name: str, request: Request) -> Response:
    if name not in {one.name for one in STATIC.iterdir()}:
        raise HTTPException(404)
    headers = dict(HEADERS)
    if request.url.query == digest_of(name):
        headers["Cache-Control"] = FOREVER
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    return Response((STATIC / name).read_bytes(), media_type=kind, headers=headers)
