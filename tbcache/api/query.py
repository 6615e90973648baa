"""What stands behind the ``?``: what is thrown away there in silence would have meant something."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, get_args

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel

from tbcache.models.error import nearest
from tbcache.models.untrusted import printable, quoted

#: So much of a name that is not known is said again.
MOST_NAME = 40

#: What a route knows behind the ``?``, and whether it is a number.
Known = Mapping[str, bool]


class QueryRoute(APIRoute):
    """A route that takes behind the ``?`` what it knows, each of it once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler, known = super().get_route_handler(), dict(_known(self.dependant))

        async def checked(request: Request) -> Response:
            check_query(request, known)
            return await handler(request)

        return checked


def check_query(request: Request, known: Known) -> None:
    """
    Raises:
      RequestValidationError: a name is none of ``known``, or is there twice, or a number is none as JSON
        writes it. Of a ``POST`` also what is there beside a body.
    """
    is_verb, names = request.method == "POST", [name for name, _ in request.query_params.multi_items()]
    for name, value in request.query_params.multi_items():
        if name not in known:
            text = f"it is not known behind the ?{_hint(name, known, is_verb=is_verb)}"
        elif names.count(name) > 1:
            text = "it is said twice: say it once"
        elif is_verb and has_body(request):
            text = "it is said behind the ? beside a body: say all of it in the body, as JSON"
        elif known[name] and ("_" in value or value != value.strip()):
            # To Python, and so to pydantic, 2_4 is 24.
            text = f"it should be a number, not {quoted(value)}"
        else:
            continue
        wrong = {
            "type": "value_error",
            "loc": ("query", printable(name)[:MOST_NAME]),
            "msg": text,
            "input": "",
        }
        raise RequestValidationError([wrong])


def has_body(request: Request) -> bool:
    """True where something follows the head, however long."""
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _hint(name: str, known: Known, *, is_verb: bool) -> str:
    if is_verb and not known:
        return "; what a POST is to do stands in its body, as JSON"
    return nearest(name, known) or f"; known: {', '.join(known) or 'nothing'}"


def _known(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    for field in dependant.query_params:
        kind: Any = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from ((name, _is_number(one.annotation)) for name, one in kind.model_fields.items())
        else:
            yield field.alias, _is_number(kind)


def _is_number(kind: Any) -> bool:
    return bool({int, float} & {kind, *get_args(kind)})
