"""What the routes read from; made once for each app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Header, Request

from tbcache.api.crew import Crew, Places
from tbcache.api.guess import Guesses
from tbcache.api.parameter import OPERATOR
from tbcache.api.token import Tokens
from tbcache.fleet import Fleet, Operator
from tbcache.settings import Settings

#: So many answers are waited for at once, and so many of the past are made, each of which takes a core. One
#: client has half of them at most.
MOST_WAITING = 128
MOST_PAST = 8


@dataclass(frozen=True, slots=True)
class Context:
    """The fleet, seen from the API. Opens no socket before the first request."""

    settings: Settings
    fleet: Fleet
    tokens: Tokens
    guesses: Guesses
    #: Who waits for answers, and who reads the past, which computes.
    waiting: Places
    past: Crew

    @classmethod
    def of(cls, settings: Settings) -> Self:
        waiting, past = Places(MOST_WAITING, "answers"), Crew(MOST_PAST, "questions about the past")
        guesses = Guesses(has_proxies=bool(settings.api_trusted_proxies))
        return cls(settings, Fleet.on_its_own(settings), Tokens.of(settings), guesses, waiting, past)

    def close(self) -> None:
        self.fleet.close()


def get_context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def get_operator(
    request: Request,
    who: Annotated[
        str,
        Header(
            alias="X-Operator",
            description="Who does it, for the audit: a name without spaces.",
            json_schema_extra=OPERATOR,
        ),
    ] = "api",
) -> Operator:
    return get_context(request).fleet.as_operator(_unicode(who))


def _unicode(text: str) -> str:
    """A header's text: its bytes were read as Latin-1, and are UTF-8 as a rule."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


Ctx = Annotated[Context, Depends(get_context)]
#: Whoever changes something, by the name that the request gives.
Op = Annotated[Operator, Depends(get_operator)]
