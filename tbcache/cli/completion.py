"""``tbcache completion``: what has a shell complete commands, options, sources and the rest."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tbcache.cli.command import command, commands
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


#: Typer's own takes the words as bash cuts them, also at each `=` and `:`: behind `--why=x` it completed
#: nothing. With quotes behind it the line ends with the word that is being typed, be it an empty one.
_BASH = f"""\
_tbcache_completion() {{
    local IFS=$'\\n'
    local line="${{COMP_LINE:0:$COMP_POINT}}''"
    COMPREPLY=( $( env COMP_WORDS="$line" COMP_CWORD=-1 {VARIABLE}=complete_bash "$1" ) )
}}

complete -o default -F _tbcache_completion tbcache
"""


@command(commands, "completion", "tbcache completion fish > ~/.config/fish/completions/tbcache.fish")
def completion(
    shell: Annotated[Shell | None, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")] = None,
) -> None:
    """Print what has a shell complete commands, options and sources."""
    chosen = shell or _shell_of_user()
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    typers = get_completion_script(prog_name="tbcache", complete_var=VARIABLE, shell=chosen)
    print_text(_BASH if chosen == "bash" else typers + _MORE.get(chosen, ""))
    if sys.stdout.isatty():
        say(f"to keep it, write this into {_PLACES[chosen]}")


def _shell_of_user() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in _PLACES:
        raise ConfigurationError(f"say for which shell: {', '.join(_PLACES)}")
    return name
