"""The page at /docs, made of the OpenAPI document alone: it needs no script and no other host."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.error import KINDS
from tbcache.api.page.render import HEADERS

router = APIRouter()

Node = Mapping[str, Any]

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { border-top: 1px solid #8884; padding-top: 1rem; font-size: 1.1rem }
code, pre { font-family: ui-monospace, monospace; font-size: .9em }
pre { background: #8882; padding: .6rem; overflow-x: auto }
table { border-collapse: collapse }
td { padding: .15rem 1rem .15rem 0; vertical-align: top }
td:last-child { padding-right: 0 }
"""
#: It has no script, and this style alone.
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """Every path and every model, as a page."""
    document = request.app.openapi()
    base = str(request.base_url).rstrip("/")
    headers = {**HEADERS, "Content-Security-Policy": _POLICY}
    return HTMLResponse("\n".join(_page(document, base)), headers=headers)


def _page(document: Node, base: str) -> Iterator[str]:
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
    yield f"<style>{_STYLE}</style><h1>{title}</h1><p>{_prose(document['info']['description'])}</p>"
    yield '<p>For programs: <a href="openapi.json">openapi.json</a>.'
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(path, method.upper(), operation)
            if method != "get":
                yield f"<pre>{escape(_command(base + path, method.upper(), operation, document))}</pre>"
    yield '<h2 id="errors">Errors</h2><p>Each is an <a href="#Error">Error</a>; its type is one of these.'
    yield "<table>"
    for kind in KINDS.values():
        name, title = escape(kind.name), escape(kind.title)
        yield f'<tr id="{name}"><td><code>{kind.status} {name}</code><td>{title}'
    yield "</table>"
    for name, model in document["components"]["schemas"].items():
        yield f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{_prose(model.get("description", ""))}</p>'
        fields = model.get("properties", {})
        yield _table((field, _type(of), of.get("description", "")) for field, of in fields.items())


def _operation(path: str, method: str, operation: Node) -> Iterator[str]:
    link = f'<a href="{escape(path.lstrip("/"))}">{escape(path)}</a>'
    # Where the path alone is no request there is nothing to follow.
    needs_more = any(of.get("required") for of in operation.get("parameters", ()))
    shown = link if method == "GET" and not needs_more else escape(path)
    yield f"<h2><code>{method} {shown}</code></h2><p>{_prose(operation.get('description', ''))}</p>"
    yield _table(
        (of["name"], f"{_type(of['schema'])} in the {of['in']}", of.get("description", ""))
        for of in operation.get("parameters", ())
    )
    yield _table(
        (status, _type(_content(of)), of["description"]) for status, of in operation["responses"].items()
    )


def _command(url: str, method: str, operation: Node, document: Node) -> str:
    """The operation as a command line, with the example of its body."""
    parts = [f"curl -X {method} {url}"]
    if "security" in operation:
        parts.append("-H 'Authorization: Bearer TOKEN'")
    if "requestBody" in operation:
        example = _example(_content(operation["requestBody"]), document)
        parts.append(f"-H 'Content-Type: application/json' -d '{json.dumps(example)}'")
    return " \\\n     ".join(parts)


def _example(schema: Node, document: Node) -> Any:
    name = str(next(one["$ref"] for one in schema.get("anyOf", [schema]) if "$ref" in one)).rpartition("/")[2]
    return document["components"]["schemas"][name]["examples"][0]


def _content(body: Node) -> Node:
    """The schema of what is asked or answered, of whatever media type."""
    return next((media.get("schema", {}) for media in body.get("content", {}).values()), {})


def _type(schema: Node) -> str:
    """A type in words, as HTML; models are links."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(escape(json.dumps(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(of := schema.get("additionalProperties"), dict):
        return f"object of {_type(of)}"
    return escape(str(schema.get("format", schema.get("type", ""))))


def _table(rows: Iterator[tuple[str, str, str]]) -> str:
    cells = "".join(f"<tr><td><code>{escape(a)}</code><td>{b}<td>{_prose(c)}" for a, b, c in rows)
    return f"<table>{cells}</table>" if cells else ""


def _prose(text: str) -> str:
    """Docstrings as HTML: names between backticks, an empty line between paragraphs."""
    marked = re.sub(r"(`+)(.*?)\1", r"<code>\2</code>", escape(text, quote=False))
    return marked.replace("\n\n", "<p>")
