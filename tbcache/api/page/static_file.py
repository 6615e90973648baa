"""The scripts and styles of the pages, compressed for whoever takes that."""

from __future__ import annotations

import gzip
import mimetypes
from functools import cache

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from tbcache.api.etag import FOREVER
from tbcache.api.page.render import HEADERS, STATIC, digest_of

router = APIRouter(include_in_schema=False)


@router.get("/static/{name}")
def static(name: str, request: Request) -> Response:
    if name not in {one.name for one in STATIC.iterdir()}:
        raise HTTPException(404)
    headers = {**HEADERS, "Vary": "Accept-Encoding"}
    if request.url.query == digest_of(name):
        headers["Cache-Control"] = FOREVER
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response((STATIC / name).read_bytes(), media_type=kind, headers=headers)
    return Response(_compressed(name), media_type=kind, headers={**headers, "Content-Encoding": "gzip"})


@cache
def _compressed(name: str) -> bytes:
    return gzip.compress((STATIC / name).read_bytes(), 9, mtime=0)
