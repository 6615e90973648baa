"""``tbcache faults``: what goes wrong with the upstreams of a demo, from now on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tbcache.cli.command import CSV, JSON, command, commands, group
from tbcache.cli.context import quiet_settings
from tbcache.cli.option import names_like
from tbcache.cli.output import show
from tbcache.cli.table import rows_table
from tbcache.models.error import InvalidRequest
from tbcache.models.untrusted import NotJson, read_json

#: As they are completed; the simulator says which there are.
_FAULTS = (
    "outage",
    "outage=drop",
    "error_rate=",
    "status=",
    "latency=",
    "limits=",
    "quota=exhausted",
    "garbage",
    "empty",
    "plan=",
)


Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The simulator; by default the one that this shell asks."),
]


@group(commands, "faults", "tbcache faults set reddit error_rate=0.2 status=502", JSON, CSV)
def all_faults(url: Url = None) -> None:
    """Show what goes wrong with the simulated upstreams of `tbcache up --demo`, and have it do so."""
    list_faults(url)


@command(all_faults, "list", "tbcache faults list", JSON, CSV)
def list_faults(url: Url = None) -> None:
    """List the faults of each simulated upstream."""
    _show(_control(url).read())


@command(all_faults, "set", "tbcache faults set reddit error_rate=0.2 status=502", JSON, CSV)
def set_faults(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A source, like twitter, or all for each.", autocompletion=names_like
        ),
    ],
    faults: Annotated[
        list[str],
        typer.Argument(
            metavar="FAULT",
            help="Like outage, status=429 or latency=1,3.",
            autocompletion=lambda incomplete: [one for one in _FAULTS if one.startswith(incomplete)],
        ),
    ],
    url: Url = None,
) -> None:
    """Set faults of a simulated upstream, beside those that it has: outage, outage=drop, error_rate=0.2,
    status=429, latency=MIN,MAX, limits=10/1m, quota=exhausted, garbage, empty, plan=basic.
    """
    given = dict(map(_fault, faults))
    found = _control(url).set(source, given)
    _show(found)


@command(all_faults, "clear", "tbcache faults clear reddit", JSON, CSV)
def clear_faults(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A source, or all.", autocompletion=names_like),
    ] = "all",
    url: Url = None,
) -> None:
    """Lift the faults of a simulated upstream, or of all."""
    _show(_control(url).clear(source))


def _control(url: str | None) -> Any:
    settings = quiet_settings()
    # It imports an HTTP client.
    from tbcache.embedded.fault_control import FaultControl, simulator_of

    return FaultControl(url or simulator_of(settings))


def _show(found: dict[str, dict[str, Any]]) -> None:
    rows = [
        (name, ", ".join(f"{what}={_words(one)}" for what, one in each.items()))
        for name, each in found.items()
    ]
    show(
        found,
        lambda: rows_table(("source", "faults"), ((name, words or "-") for name, words in rows)),
        columns=("source", "faults"),
        rows=({"source": name, "faults": words} for name, words in rows),
    )


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fault(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not name:
        raise InvalidRequest(f"{text!r} is no fault: it should be NAME or NAME=VALUE, like status=429")
    if not sign:
        return name, True
    if name == "latency":
        # Two numbers; of anything else the simulator says what would be right.
        return name, [_plain(one) for one in value.split(",")]
    return name, _plain(value)


def _plain(text: str) -> Any:
    """``text`` as JSON, where it is a number, true or false; else as it is."""
    try:
        found = read_json(text)
    except NotJson:
        return text
    return found if isinstance(found, bool | int | float) else text
