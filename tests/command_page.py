"""What docs/cli.md says of each command, as it says itself; `python -m tests.architecture` writes it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from tbcache.cli.app import PLACES, app, load
from tbcache.cli.exit import MEANINGS

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
PART = re.compile(r"(?<=<!-- commands -->\n\n).*?(?=\n<!-- end -->)", re.DOTALL)
EXIT_CODES = re.compile(r"(?<=<!-- exit codes -->\n\n).*?(?=\n<!-- end -->)", re.DOTALL)
#: What every command has, or nearly; the page says it once.
_COMMON = {"--data-dir", "--help", "--json", "--csv"}


def exit_codes() -> str:
    """The table of exit codes."""
    rows = [f"| {code} | {meaning} |\n" for code, meaning in MEANINGS.items()]
    return "".join(["| Exit code | Meaning |\n|---|---|\n", *rows])


def leaves() -> Iterator[tuple[str, Any]]:
    """Every command with its name, as ``queue list``; groups come before what is below them."""
    for name in root().list_commands(None):
        command = load(name)
        yield name, command
        for below, one in getattr(command, "commands", {}).items():
            yield f"{name} {below}", one


def commands() -> str:
    """A section for each heading of `tbcache --help`, and in it one for each command."""
    panels: dict[str, list[str]] = {}
    for name, command in leaves():
        panels.setdefault(PLACES[name.split()[0]].panel, []).append(_section(name, command))
    return "".join(f"## {panel}\n\n{''.join(sections)}" for panel, sections in panels.items())


@functools.cache
def root() -> Any:
    """The command itself; to make it takes as long as all else here."""
    return typer.main.get_command(app)


def _section(name: str, command: Any) -> str:
    params = [one for one in command.params if not getattr(one, "hidden", False)]
    arguments = "".join(f" {_argument(one)}" for one in params if one.param_type_name == "argument")
    rows = [row for one in params if (row := _row(one)) is not None]
    table = "".join(["| | |\n|---|---|\n", *rows, "\n"]) if rows else ""
    example = str(command.epilog).removeprefix("Example: ")
    forms = [name for name in ("--json", "--csv") if any(name in one.opts for one in params)]
    printed = f" Takes `{'`, `'.join(forms)}`." if forms else ""
    below = " COMMAND" if getattr(command, "commands", None) else ""
    text = " ".join(str(command.help).split())
    return f"### `tbcache {name}{below}{arguments}`\n\n{text}{printed}\n\n{table}```sh\n{example}\n```\n\n"


def _argument(param: Any) -> str:
    name = (param.metavar or param.name.upper()) + (" ..." if param.nargs == -1 else "")
    return name if param.required else f"[{name}]"


def _row(param: Any) -> str | None:
    if _COMMON & set(param.opts) or not param.help:
        return None
    if param.param_type_name == "argument":
        return f"| `{param.metavar or param.name.upper()}` | {_words(param)} |\n"
    names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
    return f"| {names} | {_words(param)} |\n"


def _words(param: Any) -> str:
    default = param.default
    is_said = isinstance(default, int | float | str) and not isinstance(default, bool) and default != ""
    return str(param.help).replace("|", "\\|") + (f" Default: `{default}`." if is_said else "")
