"""What an operator can do on the page, each behind a question that says what it would change."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from tbcache.fleet import DeadFilter, Fleet, Operator, SourceStatus
from tbcache.models.error import InvalidRequest
from tbcache.models.untrusted import moment

#: The fields of the form that say on what.
Fields = Mapping[str, str]

#: The fields by which jobs are found, each an option of the command line of the same name.
SEARCHED = ("symbol", "id", "error", "caller")


class Doing(NamedTuple):
    """Who does it, to which fleet, and the fields of the form."""

    fleet: Fleet
    operator: Operator
    fields: Fields

    def field(self, name: str) -> str:
        if not self.fields.get(name):
            raise InvalidRequest(f"the form has no {name}")
        return self.fields[name]

    @property
    def source(self) -> str:
        """The source, or the queue."""
        return self.fleet.queue_name(self.field("source"))

    def status_of(self, name: str) -> SourceStatus | None:
        """The source as it is now; None for a queue that is none."""
        return next((one for one in self.fleet.status().sources if one.name == name), None)

    @property
    def why(self) -> str:
        return self.fields.get("why", "")

    @property
    def letters(self) -> DeadFilter:
        """The dead letters that the form is about: those of a search, or all of the queue."""
        return replace(searched(self.fields), until=self.until)

    @property
    def until(self) -> datetime | None:
        """When the question was asked; what came later is not meant."""
        return moment(self.fields.get("until"))


class Question(NamedTuple):
    """What is asked before something is done; with a table of the first of ``of`` things that it is about."""

    text: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    of: int = 0


@dataclass(frozen=True, slots=True)
class Verb:
    """``ask`` says what would happen, and ``act`` does it and says what happened; ``command`` is its twin on
    the command line, with the fields of the form in braces. ``inputs`` are asked for with the question: each
    the name of a field, and what to say beside it. The fields of a search that are ``searched`` are options
    of the command. ``other`` is a field that may be asked about anew, with another value, before it is
    done. ``is_of_many``: what comes while the question stands is left alone."""

    label: str
    command: str
    ask: Callable[[Doing], str | Question]
    act: Callable[[Doing], str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    searched: Sequence[str] = ()
    other: tuple[str, str] | None = None
    is_of_many: bool = False

    def twin(self, fields: Fields) -> str:
        """The command that does the same."""
        said = [name for name in self.searched if fields.get(name)]
        return (self.command + "".join(f" --{name} {{{name}}}" for name in said)).format_map(_Quoted(fields))


def searched(fields: Fields) -> DeadFilter:
    """The filter that the fields of a search are."""
    symbol, job_id, error, caller = (fields.get(name) or None for name in SEARCHED)
    return DeadFilter(symbol, job_id, caller, error=error)


class _Quoted(dict[str, str]):
    """Fields as a shell takes them; one that is still to be asked for is its own name."""

    def __getitem__(self, name: str) -> str:
        return shlex.quote(self.get(name) or name.upper())
