"""What the whole source keeps to: imports that do nothing, words that never stand in it, script headers.

Which module may import which is import-linter's to say (`make floors`).
"""

from __future__ import annotations

import ast
import importlib
import io
import pkgutil
import re
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import pytest

import tbcache
from tbcache.queue.script import PARTS as PARTS_OF_QUEUE
from tbcache.store.script import Script
from tests.bytecode import compiled
from tests.conftest import LONG
from tests.mutants import SUITES

ROOT = Path(__file__).parents[1]
PROCESSES = ("workers", "workers.actor", "workers.__main__", "scheduler", "scheduler.__main__")
MODULES = sorted(module.name for module in pkgutil.walk_packages(tbcache.__path__, "tbcache."))
PARTS = ("tbcache", "workers", "scheduler")
SCRIPTS = sorted((ROOT / "tbcache" / "lua").glob("*.lua"))
#: So many pairs of packages and modules right below ``tbcache``, of which one imports the other, are enough:
#: CONTRIBUTING.md says what to do about one more.
MOST_ARROWS = 98

#: Fails at the first socket, thread, process, folder or file that an import makes.
_WATCH = """
import importlib, sys

FORBIDDEN = ("socket.connect", "socket.bind", "socket.getaddrinfo", "_thread.start_new_thread",
             "os.mkdir", "subprocess.Popen", "os.fork", "os.remove", "os.rename", "sqlite3.connect")

def watch(event, args):
    writes = event == "open" and isinstance(args[2], int) and args[2] & 0o3
    if writes or event in FORBIDDEN:
        raise RuntimeError(f"an import did {event} {args}")

sys.dont_write_bytecode = True
sys.addaudithook(watch)
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
#: What a server gives its scripts, as far as ours use it.
GIVEN = {"KEYS", "ARGV", "redis", "cjson", "math", "string", "table", "ipairs", "pairs", "pcall", "tonumber"}
GIVEN |= {"tostring", "type", "unpack"}
#: Of the 200 that Lua allows a script at once.
MOST_LOCALS = 190


def python(program: str, *args: str, folder: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *args],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_files_that_take_long_are_there() -> None:
    """One that is renamed would run at the end, and everybody would wait for it alone."""
    assert [name for name in LONG if not (ROOT / "tests" / name).is_file()] == []


# Imports


def test_importing_any_module_opens_nothing_and_starts_nothing(tmp_path: Path) -> None:
    """An import that connects, forks or makes folders surprises whoever only wanted a name."""
    names = [name for name in MODULES if not name.endswith("__main__")]
    python(_WATCH, *names, *PROCESSES, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_watch_over_imports_sees_what_it_forbids(tmp_path: Path) -> None:
    """The test above would pass as well if its hook were blind."""
    (tmp_path / "greedy.py").write_text("import os\nos.mkdir('made')\n")
    with pytest.raises(AssertionError, match=r"an import did os\.mkdir"):
        python(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{_WATCH}", "greedy", folder=tmp_path)


def test_import_tbcache_loads_nothing_but_itself() -> None:
    """A bot that imports it for one name should not wait for a web framework and a database."""
    loaded = python("import sys, tbcache; print(*{name.partition('.')[0] for name in sys.modules})").split()
    foreign = set(loaded) - set(sys.stdlib_module_names) - {"tbcache", "__main__"}
    # Hooks that the installers of this environment run at every start.
    assert {name for name in foreign if not name.startswith(("_", "sitecustomize"))} == set()


@pytest.mark.parametrize(
    ("names", "spared"),
    [
        (("UpstreamError",), ("pydantic", "redis", "httpx2")),
        (
            ("get_provider",),
            ("pydantic", "redis", "httpx2", "structlog", "msgspec", "sqlalchemy", "asyncio", "opentelemetry"),
        ),
        (
            ("get_cache_manager", "get_rate_limiter", "get_usage_monitor"),
            ("sqlalchemy", "tbcache.scoring.vader", "httpx2", "fastapi", "dramatiq", "pydantic"),
        ),
        (("enqueue",), ("tbcache.scoring.vader", "httpx2", "fastapi", "pydantic")),
        (
            ("Provider",),
            (
                "tbcache.scoring.vader",
                "sqlalchemy",
                "dramatiq",
                "fastapi",
                "typer",
                "apscheduler",
                "pydantic",
            ),
        ),
    ],
    ids=lambda names: names[0],
)
def test_a_name_loads_only_what_it_needs(names: tuple[str, ...], spared: tuple[str, ...]) -> None:
    """Each of these takes a tenth of a second or more, which a command line pays at every call."""
    loaded = python(f"import sys; from tbcache import {', '.join(names)}; print(*sys.modules)").split()
    assert set(loaded) & set(spared) == set()


def arrows() -> set[tuple[str, str]]:
    """Which package or module right below ``tbcache`` imports which, for types as well."""
    graph = grimp.build_graph("tbcache", cache_dir=None)
    for name in graph.find_children("tbcache"):
        if graph.find_children(name):
            graph.squash_module(name)
    found = {(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)}
    return {(one, other) for one, other in found if one != other}


def test_the_packages_know_few_of_each_other() -> None:
    """Whoever changes a package has each of those in mind that it imports, and that import it."""
    found = arrows()
    assert ("tbcache.cli", "tbcache.models") in found
    assert len(found) <= MOST_ARROWS, f"{len(found)} arrows between packages"


# Forks

#: Classes with a lock that is made only once, and why that does no harm in a forked child.
MADE_ONCE = {
    "LiveDisplay": "a command that shows something forks nothing",
    "Hand": "of a worker's process, which dramatiq forks before any of its threads begins",
    "HeldJob": "of a worker's process, likewise",
    "Threads": "of a worker's process, likewise",
    "Promises": "the window of a child makes others",
    "Cluster": "the store of a child makes another one",
    "Refusals": "the store of a child makes others",
    "Waiter": "the store of a child makes another one",
    "Condition": "of a simulated process, and those do not fork",
}
_LOCKS = ("threading.Lock", "threading.RLock", "threading.Condition")


def locks_made_once(tree: ast.Module) -> Iterator[str]:
    """The classes that make a lock when they are made, and have no method that makes it anew."""
    for made in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        methods = {one.name: one for one in made.body if isinstance(one, ast.FunctionDef)}
        renewed = ast.unparse(methods["renew"]) if "renew" in methods else ""
        handed = ast.unparse(made)
        for node in ast.walk(methods.get("__init__", ast.Module([], []))):
            if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
                continue
            lock = ast.unparse(node.targets[0])
            is_renewed = f"{lock} = " in renewed or f"{lock}, " in renewed or f"{lock}.renew" in handed
            if ast.unparse(node.value.func) in _LOCKS and not is_renewed:
                yield made.name


def test_a_lock_is_made_anew_in_a_forked_child() -> None:
    """A thread that is not in the child may have held it, and whoever wants it there waits for ever."""
    found = {
        name: None
        for path, text in tracked()
        if re.match(r"tbcache/.*\.py$", path)
        for name in locks_made_once(ast.parse(text))
    }
    assert found.keys() <= MADE_ONCE.keys()


def test_a_lock_that_is_made_once_is_seen() -> None:
    """The test above would pass as well if it saw no lock."""
    once = "class A:\n def __init__(self):\n  self._lock = threading.Lock()\n"
    assert list(locks_made_once(ast.parse(once))) == ["A"]
    again = f"{once} def renew(self):\n  self._lock = threading.Lock()\n"
    assert list(locks_made_once(ast.parse(again))) == []


# Words

#: Words that the library had of its own where the field has one, or that stood for several things: see
#: docs/glossary.md. A name in the code is none of them, whatever it names.
RETIRED = re.compile(
    r"_?(own|own_of|ownslots|journey|memo|gate|rooms?|bury\w*|buried|hear|hear_\w+|heard_of|note|note_\w+|noted"
    r"|kept_of|keep|(goes|go|begins|told|taken|set|has_taken|forget)_alone|is_local|LocalAdmission|LocalClosure"
    r"|longest_lease|Word|needs_word|silent|view|Loads|Heard|load_class|load_provider"
    r"|Line|Link|is_foreign|recalled|Learned|Made|Asks|Demand|Asked\w*|keeps_promises|untold|Told|told|meet|line_lease)"
)
#: Where a user may hold such a name, it stays as an alias.
STILL_THERE = {("tbcache/providers/base.py", "own")}


def tracked() -> Iterator[tuple[str, str]]:
    """Every text file that is tracked: its name and its text."""
    for name in _listed() or _walk():
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            yield name, path.read_text("utf-8", errors="replace")


def _listed() -> list[str]:
    if shutil.which("git") is None:
        return []
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.splitlines()


def _walk() -> list[str]:
    """The same where git knows nothing of us: a source archive."""
    found = (path.relative_to(ROOT) for part in (*PARTS, "tests") for path in (ROOT / part).rglob("*"))
    return [str(path) for path in found if path.is_file() and "__pycache__" not in path.parts]


def hits(pattern: str, *, under: tuple[str, ...] = (), suffixes: tuple[str, ...] = ()) -> list[str]:
    """``file:line`` of every match."""
    word = re.compile(pattern)
    return [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in tracked()
        if (not under or name.split("/")[0] in under) and (not suffixes or name.endswith(suffixes))
        for number, line in enumerate(text.splitlines(), 1)
        if word.search(line)
    ]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"^\s*(import|from)\s+(pickle|marshal|shelve|dill|cloudpickle)\b", "runs what it reads"),
        (r"(?<![\w.])(eval|exec)\(", "runs what it reads"),
        (r"yaml\.(unsafe_)?load\(|shell=True|verify=False", "trusts what it should not"),
        (
            r"""\.keys\(\s*["']|\(\s*["']KEYS["']|\.flushdb\(|\.flushall\(""",
            "holds up or empties a shared server",
        ),
    ],
)
def test_the_library_never_says(pattern: str, why: str) -> None:
    """Values come from a server others can write to, and that server is shared."""
    assert hits(pattern, under=PARTS, suffixes=(".py",)) == [], why


@pytest.mark.parametrize(
    "pattern", [r"redis\.call\('(KEYS|FLUSH\w+|SMEMBERS|CONFIG|EVAL)'", r"loadstring|dofile"]
)
def test_no_script_says(pattern: str) -> None:
    """A script holds up everyone while it runs."""
    assert hits(pattern, under=PARTS, suffixes=(".lua",)) == []


def names_in(name: str, text: str) -> set[str]:
    """Every name in the code of a file: no comment, and no text in quotes."""
    if name.endswith(".lua"):
        code = re.sub(r"--[^\n]*|'[^'\n]*'|\"[^\"\n]*\"", "", text)
        return set(re.findall(r"[A-Za-z_]\w*", code))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


def test_no_retired_word_comes_back() -> None:
    """Who knows limiters and caches should not have to learn a second word for each thing."""
    files = [(name, text) for name, text in tracked() if re.match(r"tbcache/.*\.(py|lua)$", name)]
    core = [one for one in files if not one[0].startswith("tbcache/embedded/simulator/")]
    found = {(name, word) for name, text in core for word in names_in(name, text) if RETIRED.fullmatch(word)}
    assert found == STILL_THERE


@pytest.mark.parametrize("text", ["def bury(id): ...", "x = limiter.own", "take(note=1)", "class Word: ..."])
def test_a_retired_word_is_seen_wherever_it_names_something(text: str) -> None:
    """The test above would pass as well if it were blind to attributes or arguments."""
    assert any(RETIRED.fullmatch(word) for word in names_in("a.py", text))
    assert not any(RETIRED.fullmatch(word) for word in names_in("a.py", f"# {text!r}\nkept = {text!r}"))


def test_the_environment_is_read_in_one_place() -> None:
    """Settings are one object: a second reader would see other values than the first."""
    # OpenTelemetry has variables of its own, which its SDK reads as well.
    allowed = {f"tbcache/settings/{name}.py" for name in ("model", "process", "telemetry")}
    # The commands hand their own environment on to the processes they start.
    # Where the system has its temporary files, and those of its users.
    allowed |= {"tbcache/limiter/marker.py", "tbcache/limiter/slot_file.py"}
    allowed |= {name for name, _ in tracked() if re.match("tbcache/(cli|embedded)/[^/]*$", name)}
    found = hits(r"os\.(environ|getenv)", under=PARTS, suffixes=(".py",))
    assert [hit for hit in found if hit.partition(":")[0] not in allowed] == []


def test_what_others_wrote_is_read_in_one_place() -> None:
    """The decoder has four kinds of errors, and a reader that catches three falls over the fourth."""
    # A value of a cache that is of no class, and a body of an upstream's, are decoded as they come.
    allowed = {"tbcache/models/decoder.py", "tbcache/store/codec.py", "tbcache/fetch/http_response.py"}
    found = hits(r"json\.(decode|Decoder|loads?)\(", under=PARTS, suffixes=(".py",))
    assert {hit.partition(":")[0] for hit in found} == allowed
    # The values of a cache are decoded by types of the user's own.
    allowed = {"tbcache/models/untrusted.py", "tbcache/store/codec.py", "tbcache/fetch/function/value.py"}
    found = hits(r"(?<!def )(decode_json|json_decoder)\(", under=PARTS, suffixes=(".py",))
    assert {hit.partition(":")[0] for hit in found} == allowed | {"tbcache/models/decoder.py"}


def test_the_day_of_a_moment_is_reckoned_in_one_place() -> None:
    """Each copy goes by a clock of its own in the end, and the figures of a day stand under two."""
    found = hits(r"//\s*(86_?400|DAY_SECONDS)", under=PARTS, suffixes=(".py",))
    assert [hit.partition(":")[0] for hit in found] == ["tbcache/store/wire.py"]


def test_no_file_names_an_index_or_a_place_on_one_machine() -> None:
    """A lock or a script that names a host works for one of us only."""
    # Spelled so that this file is not the one it looks for.
    hosts = r"p[y]pi\.org|python[h]osted\.org|files\.[p]ython|registry\.[n]pmjs|index-url\s*=?\s*http"
    assert hits(hosts) == []
    assert hits(r"(?<![\w./])/(home|Users|root|work|mnt)/\w+") == []


# Scripts


def header(script: Path) -> str:
    """The comment a script opens with."""
    lines = script.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("--@include"))
    end = next(number for number, line in enumerate(lines) if number >= first and not line.startswith("--"))
    return "\n".join(lines[first:end])


def declared() -> list[Script[Any, Any]]:
    """Every script that some module declares."""
    found = [
        value
        for name in MODULES
        if name[-8:] != "__main__"
        for value in vars(importlib.import_module(name)).values()
    ]
    return list({script.name: script for script in found if isinstance(script, Script)}.values())


def test_every_script_is_declared_once_or_included() -> None:
    """What a script is told and replies is written down in one place, or not run at all."""
    bodies = [path.read_text() for path in SCRIPTS]
    included = {name for body in bodies for name in re.findall(r"^--@include (\w+)$", body, re.M)}
    assert {script.name for script in declared()} | included == {path.stem for path in SCRIPTS}
    assert included.isdisjoint(script.name for script in declared())
    for path in SCRIPTS:
        assert header(path).startswith(f"-- {path.stem}: ")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_names_its_keys_in_KEYS(script: Path) -> None:  # noqa: N802 -- the word of Redis
    """A key built inside a script cannot be found by a cluster, nor by a reader."""
    literal = re.findall(r"redis\.call\(\s*'[A-Z]+'\s*,\s*'", script.read_text())
    built = re.findall(r"redis\.call\(\s*'[A-Z]+'\s*,\s*\w+\s*\.\.", script.read_text())
    assert (literal, built) == ([], [])


def test_no_script_names_what_is_nowhere() -> None:
    """A name that is misspelt in a rare branch is met by those who come there, and by nobody before."""
    found = {script.name: compiled(script.text) for script in declared()}
    assert len(found) > 25
    assert {name: unknown for name, main in found.items() if (unknown := main.all_globals - GIVEN)} == {}
    assert {name: main.locals for name, main in found.items() if main.locals > MOST_LOCALS} == {}, (
        "include what one block alone needs inside that block"
    )


def test_every_script_names_the_tests_that_its_mutants_are_tried_with() -> None:
    """A file that `make mutants` has no tests for is one whose lines nobody asks about."""
    assert SUITES.keys() == {path.stem for path in SCRIPTS}
    named = {test for tests in SUITES.values() for test in tests}
    assert {test for test in named if not (ROOT / "tests" / test).is_file()} == set()


def test_queue_lua_describes_every_part() -> None:
    """Who reads a queue in Redis finds there what each key is."""
    head = header(ROOT / "tbcache" / "lua" / "queue.lua")
    listed = re.findall(r"(?:^--|\s{2,})\s*([a-z-]+)\s{2,}(?:LIST|ZSET|HASH|STRING)", head, re.M)
    assert listed == list(PARTS_OF_QUEUE)
