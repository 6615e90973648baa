"""The one place that turns what went wrong into a line on stderr and an exit code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from typer.exceptions import TyperException

from tbcache.cli import interrupt
from tbcache.cli.exit import FAILED, INTERRUPTED, OK, RATE_LIMITED, REDIS_UNREACHABLE, UPSTREAM, USAGE
from tbcache.models import FetchRequest, untrusted
from tbcache.models.error import (
    ConfigurationError,
    InvalidRequest,
    RateLimited,
    RedisUnreachable,
    TbcacheError,
    UnknownJob,
    UpstreamError,
    UpstreamNotFound,
    nearest,
)

#: So many commands are not named where none is like the one that was meant.
MOST_NAMED = 12
#: Set by the script of a shell that asks what a line of its user's may go on with.
VARIABLE = "_TBCACHE_COMPLETE"

_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (ConfigurationError, USAGE),
    (UnknownJob, FAILED),
    (InvalidRequest, USAGE),
    (RedisUnreachable, REDIS_UNREACHABLE),
    (RateLimited, RATE_LIMITED),
    (UpstreamError, UPSTREAM),
)


def run(app: typer.Typer, args: Sequence[str]) -> int:
    """Run the command of ``app`` that ``args`` name; its exit code."""
    command = typer.main.get_command(app)
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    try:
        with interrupt.orderly_end(), interrupt.never_lost():
            code = command.main(args or ["--help"], prog_name="tbcache", standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        return _fail(_usage(error), USAGE)
    except typer.Abort:
        return _fail("nothing was done", FAILED)
    except TbcacheError as error:
        return _fail(str(error), exit_code(error))
    except _redis_error() as error:
        return _fail(f"Redis refuses: {error}", FAILED)
    except BrokenPipeError:
        # The reader of our output has seen enough, as in `tbcache status | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    if code == INTERRUPTED:
        return _fail("interrupted", INTERRUPTED)
    return code or OK


def _redis_error() -> Any:
    """That of the client, where this process has loaded it: else nothing can have raised one.

    To load it takes as long as all of a completion, which ends by an exception too.
    """
    return getattr(sys.modules.get("redis"), "RedisError", ())


def exit_code(error: TbcacheError) -> int:
    """The exit code that docs/cli.md promises for ``error``."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), FAILED)


def failure(request: FetchRequest, error: TbcacheError, credentials: Sequence[str]) -> str:
    """Why there is no answer to ``request``; of an upstream's error, which symbol and what to do as well.

    ``credentials`` are the variables of the source's.
    """
    if not isinstance(error, UpstreamError):
        return str(error)
    said, todo = str(error).removeprefix(f"{request.source}: "), _todo(error, credentials)
    return f"{request.source} {request.symbol}: {said}" + (f"; {todo}" if todo else "")


def _todo(error: UpstreamError, credentials: Sequence[str]) -> str:
    # Reads half of the library: not before something is wrong.
    from tbcache.fleet import remedy

    if isinstance(error, UpstreamNotFound):
        return "is it spelled right?"
    return "try again later" if error.transient else remedy([error.kind], credentials)


def say(message: str) -> None:
    """One line to stderr; what follows it, like the end of a log, is indented."""
    lines = [untrusted.printable(line, untrusted.LINE) for line in message.splitlines()]
    text = "\n  ".join(lines)
    print(f"tbcache: {text}", file=sys.stderr, flush=True)  # noqa: T201


def _fail(message: str, code: int) -> int:
    say(message)
    return code


def _usage(error: TyperException) -> str:
    """A usage error in one line, with the nearest right thing and where to read more."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "tbcache"
    return f"{_reason(error)} (see `{command} --help`)"


def _reason(error: TyperException) -> str:
    option, cause = getattr(error, "option_name", None), error.__context__
    if option is not None and type(error).__name__ == "NoSuchOption":
        return f"no such option: {option}{_near_option(option, _options(error))}"
    if type(error).__name__ == "BadParameter" and type(cause).__name__ == "ValidationError":
        return _bad_value(error, cause)
    text = error.format_message().strip().rstrip(".").removeprefix("Invalid value: ")
    if text == "Missing command":
        return f"missing command: one of {', '.join(_commands(error))}"
    found = re.match(r"No such command '(.*?)'", text)
    if found:
        known = _commands(error)
        # Those of a group are few enough to be named.
        rest = f": it is one of {', '.join(known)}" if len(known) < MOST_NAMED else ""
        return f"no such command: {found[1]}{nearest(found[1], known) or rest}"
    return text[:1].lower() + text[1:]


def _bad_value(error: TyperException, why: Any) -> str:
    """The option with the value that it was given, and what would be right; ``why`` is pydantic's."""
    from tbcache.models.reason import in_plain_words

    given, parameter = why.errors()[0], getattr(error, "param", None)
    name = max(parameter.opts, key=len) if parameter is not None else "an argument"
    words = in_plain_words(given).rstrip(".")
    choices = re.findall(r"'([^']*)'", words.partition("is not one of")[2])
    if choices:
        words = f"it should be one of {', '.join(choices)}{nearest(str(given['input']), choices)}"
    return f"{name}={given['input']!r} is not valid: {words}"


def _near_option(option: str, known: Iterable[str]) -> str:
    """As :func:`nearest`; the dashes, which all begin with, bring none nearer."""
    by_word = {one.lstrip("-"): one for one in known}
    near = nearest(option.lstrip("-"), by_word)
    return next((f"; did you mean {one!r}?" for word, one in by_word.items() if repr(word) in near), "")


def _options(error: TyperException) -> list[str]:
    context = getattr(error, "ctx", None)
    parameters = context.command.params if context is not None else []
    return [name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)]


def _commands(error: TyperException) -> list[str]:
    context = getattr(error, "ctx", None)
    return list(context.command.commands) if context is not None else []
