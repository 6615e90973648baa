"""``tbcache completion``: what has a shell complete commands, options, sources and the rest."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tbcache.cli.command import commands
from tbcache.cli.error import VARIABLE, say
from tbcache.cli.output import print_text
from tbcache.models.error import ConfigurationError

Shell = Literal["bash", "zsh", "fish"]
#: Where each shell looks for it by itself.
_PLACES = {
    "bash": "~/.local/share/bash-completion/completions/tbcache",
    "zsh": "a file _tbcache in a folder of $fpath",
    "fish": "~/.config/fish/completions/tbcache.fish",
}
#: What the shell is told beside Typer's script. zsh runs the file as somebody completes for the first time,
#: and that only makes the function known, which completes from the second time on.
_MORE = {"zsh": '(( $+compstate )) && _tbcache_completion "$@"\n'}


@commands.command(
    "completion", epilog="Example: tbcache completion fish > ~/.config/fish/completions/tbcache.fish"
)
def completion(
    shell: Annotated[Shell | None, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")] = None,
) -> None:
    """Print what has a shell complete commands, options and sources."""
    chosen = shell or _shell_of_user()
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    script = get_completion_script(prog_name="tbcache", complete_var=VARIABLE, shell=chosen)
    print_text(script + _MORE.get(chosen, ""))
    if sys.stdout.isatty():
        say(f"to keep it, write this into {_PLACES[chosen]}")


def _shell_of_user() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in _PLACES:
        raise ConfigurationError(f"say for which shell: {', '.join(_PLACES)}")
    return name
