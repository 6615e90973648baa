"""What a command takes beside options of its own: the data folder, and the forms in which it prints."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, cast

import typer

F = TypeVar("F", bound=Callable[..., Any])


class Form(NamedTuple):
    """The form that was asked for; neither is a table on a terminal, and JSON in a pipe."""

    as_json: bool = False
    as_csv: bool = False


#: The form that the command prints in which runs.
FORM: ContextVar[Form] = ContextVar("form", default=Form())  # noqa: B039 -- a tuple


#: The data folder that the command line names; None: it names none.
DATA_DIR: ContextVar[Path | None] = ContextVar("data_dir", default=None)


def _named(context: typer.Context, folder: str | None) -> Path | None:
    """The data folder that is named; the one beside the command goes before the global.

    An empty one counts as not named, as that of a script does whose variable is not set.
    """
    found = Path(folder) if folder else None
    if found is not None or context.parent is None:
        DATA_DIR.set(found)
    return found


def _option(name: str, kind: object, default: object = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


_DATA_DIR = _option(
    "data_dir",
    Annotated[
        Path | None,
        typer.Option(
            help="The folder where `tbcache up` runs, or its data folder (TBCACHE_DATA_DIR, else .tbcache).",
            callback=_named,
            # As it is typed: a Path of nothing is the current folder.
            path_type=str,
            show_default=False,
        ),
    ],
)
#: The forms that a command prints in beside a table, or lines.
JSON = _option(
    "as_json", Annotated[bool, typer.Option("--json", help="Print JSON, also on a terminal.")], False
)
CSV = _option("as_csv", Annotated[bool, typer.Option("--csv", help="Print CSV.")], False)


#: Those that stand behind `tbcache`, of the modules that are imported.
commands = typer.Typer()


def command(of: typer.Typer, name: str, example: str, *forms: inspect.Parameter) -> Callable[[F], F]:
    """Make a function the command ``name`` of others, with an example below its help; it prints in these
    ``forms`` as well."""

    def add(function: F) -> F:
        of.command(name, epilog=f"Example: {example}")(_taking(function, forms))
        return function

    return add


def group(
    of: typer.Typer, name: str, example: str, *forms: inspect.Parameter
) -> Callable[[Callable[..., Any]], typer.Typer]:
    """Make a group of commands of a function, which is the one without a name where it prints something."""

    def add(function: Callable[..., Any]) -> typer.Typer:
        found = typer.Typer(epilog=f"Example: {example}", invoke_without_command=bool(forms))
        begins(found, *forms)(function)
        of.add_typer(found, name=name)
        return found

    return add


def begins(of: typer.Typer, *forms: inspect.Parameter) -> Callable[[F], F]:
    """Have the commands ``of`` go by the help of a function, which is run where none of them is named."""

    def add(function: F) -> F:
        said = _taking(function, forms)

        @functools.wraps(said)
        def run(context: typer.Context, **given: Any) -> None:
            if not _is_before_another(context):
                said(**given)

        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        signature = inspect.signature(said)
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), context]
        )
        of.callback()(run)
        return function

    return add


def _is_before_another(context: typer.Context) -> bool:
    """Whether the command that ``context`` is of stands before another, as `dead` does in `dead list`.

    Raises:
      typer.BadParameter: it has an option of its own there, which would be thrown away.
    """
    command = context.invoked_subcommand
    for parameter in context.command.params if command is not None else ():
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name != "data_dir" and source is not None and source.name == "COMMANDLINE":
            option, path = max(parameter.opts, key=len), context.command_path
            raise typer.BadParameter(f"{option} is for `{path}` alone, and not before `{command}`")
    return command is not None


def _taking(function: F, forms: tuple[inspect.Parameter, ...]) -> F:
    """``function`` as Typer is to see it: with the folder, and the forms."""

    @functools.wraps(function)
    def run(*, data_dir: Path | None, as_json: bool = False, as_csv: bool = False, **given: Any) -> Any:
        if as_json and as_csv:
            raise typer.BadParameter("--json and --csv exclude each other")
        FORM.set(Form(as_json, as_csv))
        return function(**given)

    said = inspect.signature(function, eval_str=True)
    parameters = [*said.parameters.values(), *forms, _DATA_DIR]
    run.__signature__ = said.replace(parameters=parameters)  # type: ignore[attr-defined]
    return cast("F", run)
