"""What pages say of the code, as the code has it.

python -m tests.architecture    writes the tables of pages that are made of code, or of the bench
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import re
import tomllib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tbcache.api.metrics import METRICS
from tbcache.store.key import Keys
from tbcache.store.script import Script
from tests import command_page

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PARTS = ("tbcache", "workers", "scheduler")
METRICS_PAGE = ROOT / "docs" / "metrics.md"
METRICS_TABLE = re.compile(r"(?<=<!-- metrics -->\n\n).*?(?=\n<!-- end -->)", re.DOTALL)
README = ROOT / "README.md"
LIMITERS_TABLE = re.compile(r"(?<=<!-- limiters -->\n\n).*?(?=\n<!-- end -->)", re.DOTALL)
TABLE = re.compile(r"(?<=<!-- scripts -->\n\n).*?(?=\n<!-- end -->)", re.DOTALL)

_HEAD = "| Script | What it does | Keys | Declared in | Run by |\n|---|---|---|---|---|\n"
#: Methods of Keys that make nothing a key of their own: prefixes, globs, several keys, or another's key.
_NO_KEYS = {
    "entries",
    "logs",
    "clears_of",
    "clears_for",
    "all_clears",
    "wake_of",
    "knowing",
    "key_of",
    "matching",
}


class _Day(datetime):
    """A moment that is written as its form, of a day or an hour."""

    def __format__(self, form: str) -> str:
        return form.replace("%Y", "YYYY").replace("%m", "MM").replace("%d", "DD").replace("%H", "HH")


#: What stands for the arguments of the methods of Keys, by name.
_ARGUMENTS = {
    "source": "SOURCE",
    "day": _Day(2026, 1, 1),
    "hour": _Day(2026, 1, 1),
    "part": "PART",
    "message_id": "JOB",
    "token": "TOKEN",
    "key": "SOURCE:REST",
}


def table_of_scripts() -> str:
    """Each script: what it does, its keys, where it is declared, and who runs it."""
    runs = _runs()
    rows = []
    for constant, script in sorted(scripts().items(), key=lambda found: found[1].name):
        declared_in = script.call.__module__
        declared = _file(declared_in)
        callers = [
            _file(module)
            for module, names in runs.items()
            if names.get(constant, "") in (declared_in, "script")
            or (module == declared_in and constant in names)
        ]
        cells = (script.name, _purpose(script.name), ", ".join(_keys(script)), declared, ", ".join(callers))
        rows.append(f"| {' | '.join(cells)} |\n")
    return _HEAD + "".join(rows)


def table_of_metrics() -> str:
    """Each metric of /metrics: its name, kind, labels, and what it says."""
    rows = (
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.help} |\n"
        for one in METRICS
    )
    return "| Metric | Type | Labels | What it says |\n|---|---|---|---|\n" + "".join(rows)


def table_of_limiters() -> str:
    """What the README shows of the first table of bench/RESULTS.md, where a cell is "refused/most"."""
    text = (ROOT / "bench" / "RESULTS.md").read_text("utf-8")
    _, _, rest = text.partition("\n| limiter ")
    lines = []
    for row in rest.partition("\n\n")[0].splitlines()[2:]:
        name, *loads, used, _, _ = (cell.strip() for cell in row.strip("|").split(" | "))
        pairs = [load.split("/") for load in loads]
        refused = " | ".join(refused for refused, _ in pairs)
        lines.append(f"| {name} | {refused} | {max(int(most) for _, most in pairs)} | {float(used):.0%} |")
    head = "| Limiter | Refused: saturated | in bursts | heavy tail | clocks 1 h off | Most in 2 s | Used |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *lines, ""])


def scripts() -> dict[str, Script[Any, Any]]:
    """Every script that is declared, by the name of its constant."""
    loaded = [importlib.import_module(name) for name, tree in _trees() if _declares(tree)]
    return {
        name: value
        for module in loaded
        for name, value in vars(module).items()
        if isinstance(value, Script) and value.call.__module__ == module.__name__
    }


def key_names() -> dict[str, str]:
    """The pattern of each key and channel, by the method of Keys that names it."""
    keys = Keys("$ns")
    found = [(name, one) for name, one in vars(Keys).items() if name[0] != "_" and name not in _NO_KEYS]
    return {
        name: getattr(keys, name) if isinstance(one, property) else _named(getattr(keys, name))
        for name, one in found
        if isinstance(one, property) or inspect.isfunction(one)
    }


def layers() -> list[list[str]]:
    """The floors from the top, each with its modules, as import-linter checks them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = [one["layers"] for one in contracts if one["type"] == "layers"]
    return [[name.strip().removeprefix("tbcache.") for name in layer.split(":")] for layer in found]


def thread_names() -> set[str]:
    """What the threads are called that the code starts, by its calls."""
    calls = [node for _, tree in _trees() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        call.args[0].value
        for call in calls
        if _called(call) in ("BackgroundThread", "BackgroundPool", "ThreadPool")
        and isinstance(call.args[0], ast.Constant)
    }


def _purpose(name: str) -> str:
    """The first sentence of a script's header."""
    header = (ROOT / "tbcache" / "lua" / f"{name}.lua").read_text("utf-8").partition(f"-- {name}: ")[2]
    lines = itertools.takewhile(str.strip, (line.removeprefix("--") for line in f"--{header}".splitlines()))
    return re.split(r"[.:] |\.$|(?<=\?) ", " ".join(map(str.strip, lines)))[0]


def _keys(script: Script[Any, Any]) -> list[str]:
    return [field.name + ("..." if field.is_many else "") for field in script._keys]


def _file(module: str) -> str:
    return module.replace(".", "/") + ".py"


def _named(method: Any) -> str:
    key: str = method(**{name: _ARGUMENTS[name] for name in inspect.signature(method).parameters})
    return key


@functools.cache
def _runs() -> dict[str, dict[str, str]]:
    """Of each module what it names in capitals, with the module that it has it from: "" for its own."""
    return {module: _constants(tree) for module, tree in _trees()}


def _constants(tree: ast.Module) -> dict[str, str]:
    used = {name for node in ast.walk(tree) if (name := _constant(node))}
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    origins = {alias.name: node.module or "" for node in imports for alias in node.names}
    module = "script" if "script" in origins else ""
    return {name: origins.get(name, module) for name in used}


def _constant(node: ast.AST) -> str:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return node.id if node.id.isupper() else ""
    # As in `script.ADMIT`.
    is_of_module = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    return node.attr if is_of_module and node.value.id == "script" else ""  # type: ignore[attr-defined]


def _declares(tree: ast.Module) -> bool:
    """Whether a module makes a script of its own, outside all functions."""
    made = [node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return any(isinstance(value, ast.Call) and _called(value) in ("Script", "SlotScript") for value in made)


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


@functools.cache
def _trees() -> list[tuple[str, ast.Module]]:
    return list(_parsed())


def _parsed() -> Iterator[tuple[str, ast.Module]]:
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name, ast.parse(path.read_text("utf-8"))


def _write(page: Path, table: re.Pattern[str], text: str) -> None:
    page.write_text(table.sub(lambda _: text, page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    _write(PAGE, TABLE, table_of_scripts())
    _write(README, LIMITERS_TABLE, table_of_limiters())
    _write(METRICS_PAGE, METRICS_TABLE, table_of_metrics())
    _write(command_page.PAGE, command_page.PART, command_page.commands())
    _write(command_page.PAGE, command_page.EXIT_CODES, command_page.exit_codes())
