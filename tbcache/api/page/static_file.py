"""The scripts and styles of the pages."""

from __future__ import annotations

import mimetypes

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from tbcache.api.page.render import HEADERS, STATIC

router = APIRouter(include_in_schema=False)


@router.get("/static/{name}")
def static(name: str) -> Response:
    file = next((one for one in STATIC.iterdir() if one.name == name), None)
    if file is None:
        raise HTTPException(404)
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    return Response(file.read_bytes(), media_type=kind, headers=HEADERS)
