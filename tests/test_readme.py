"""The README and the pages for users hold: Python runs, commands exist, tables are those of the code."""

from __future__ import annotations

import io
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from tbcache import cli
from tbcache.api import create_app
from tbcache.cli.dashboard import dashboard
from tbcache.fleet import Fleet
from tbcache.settings import BUILT_IN, BUILT_IN_NAMES, FIELDS, Settings, Source, get_settings
from tbcache.store import Store
from tests import readme
from tests.cli.command import clean_environment
from tests.server import Server
from tests.upstream import running_simulator

REDIS = (
    "REDIS_URL",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_PASSWORD",
    "REDIS_DB",
    "REDIS_SSL",
    "REDIS_CLUSTER",
    "REDIS_SENTINELS",
    "REDIS_SENTINEL_PASSWORD",
)
OWN = "BLUESKY"
#: A source that code declares, in docs/source.md.
DECLARED = "ALPHAVANTAGE"
#: What that page has as an example of what is refused.
MISSPELT = "TBCACHE_TWITER__LIMITS"
#: Commands that have others below them.
GROUPS = {"alert", "faults", "cache", "provider", "limits", "queue", "dead"}


def commands() -> list[str]:
    """Every `tbcache ...` command line of these pages, from blocks and from running text, once."""
    shell = [line.partition(" #")[0].strip() for block in readme.blocks("sh") for line in block.splitlines()]
    inline = re.findall(r"`(tbcache [^`]+)`", readme.EVERYTHING)
    found = [line for line in (*shell, *inline) if line.startswith("tbcache ") and "COMMAND" not in line]
    return sorted(set(found))


# Python


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server, the simulator and a worker; gives the variables that point at them."""
    folder = tmp_path_factory.mktemp("fleet")
    server = Server(always_answers=True).start()
    try:
        with running_simulator() as upstream:
            variables = {**server.variables, "TBCACHE_DATA_DIR": str(folder), **upstream.variables}
            command = [sys.executable, "-m", "workers", "--threads", "2"]
            worker = subprocess.Popen(command, cwd=readme.ROOT, env=clean_environment(**variables))
            try:
                yield variables
            finally:
                worker.terminate()
                worker.wait(60)
    finally:
        server.close()


@pytest.mark.parametrize("block", readme.examples(), ids=lambda block: re.sub(r"\W+", "-", block[:60]))
def test_each_python_example_runs(block: str, fleet: dict[str, str], tmp_path: Path) -> None:
    """What is copied from here into a bot works as it stands, and the bot ends by itself."""
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=tmp_path,
        env=clean_environment(**fleet),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not re.search("again at|the job goes on", done.stdout), "it took the way of an error"


def test_the_python_examples_type_check_strictly(tmp_path: Path) -> None:
    """An example that an editor underlines is no example."""
    paths = []
    for number, block in enumerate(readme.blocks("python")):
        paths.append(tmp_path / f"example_{number}.py")
        # Said in the file: said to the command, all that `make types` keeps of tbcache would be of no use.
        paths[-1].write_text(f"# mypy: no-warn-unreachable\n{block}")
    command = [sys.executable, "-m", "mypy", *map(str, paths)]
    done = subprocess.run(command, cwd=readme.ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout


# Commands


@pytest.mark.parametrize("line", commands())
def test_each_command_exists_with_its_options(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that a page names and the program refuses is the first thing a newcomer meets."""
    words = shlex.split(line)[1:]
    named = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    path = named[: 2 if words[0] in GROUPS else 1]
    assert cli.main([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", shown), f"{option} of {line}"


def test_no_command_is_left_out() -> None:
    """Who looks at the list of commands, and at how parts are run, knows all there is."""
    from tbcache.cli.app import PLACES

    lines = "\n".join(readme.blocks("sh", readme.COMMANDS + readme.DEPLOYING + readme.TEXT))
    assert PLACES.keys() == set(re.findall(r"^tbcache (\w+)", lines, re.MULTILINE))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)|`make (\w+)", readme.TEXT))))
def test_each_make_target_exists(target: tuple[str, str]) -> None:
    """These are the first two commands anyone types."""
    makefile = (readme.ROOT / "Makefile").read_text()
    assert re.search(rf"^{target[0] or target[1]}:", makefile, re.MULTILINE)


def test_the_readme_begins_with_a_sentence_and_the_two_commands() -> None:
    """A new person sees the shortest way in, runs one command and sees a page move."""
    start, *heads = readme.TEXT.split("\n## ")
    assert re.match(r"# tbcache\n\n[^.]+\.\n\n```python\nimport tbcache\n", start)
    assert len(start.splitlines()) < 40
    assert len(readme.TEXT.splitlines()) < 200
    (head,) = (head for head in heads if head.startswith("Two commands\n"))
    assert re.findall(r"^make (\w+)", head, re.MULTILINE) == ["demo", "test"]


def test_the_page_that_is_shown_has_the_columns_of_the_code() -> None:
    """The excerpt is of a real run; a page that looks otherwise makes a reader doubt the rest."""
    (block,) = readme.blocks("text", readme.page("docs/operating.md"))
    (shown,) = [line for line in block.splitlines() if line.startswith("source ")]
    shown_columns = re.split(r"\s{2,}", shown.strip())
    columns, always = page_columns(200), page_columns(80)
    # By how much there is to be shown, one or the other has no room.
    assert set(always) <= set(shown_columns) <= set(columns)
    assert shown_columns == [name for name in columns if name in shown_columns]


def page_columns(width: int) -> list[str]:
    settings = Settings.load({})
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(dashboard(Fleet(settings, Store(settings)).status(), width))
    (line,) = [line for line in console.export_text().splitlines() if line.startswith("source ")]
    return re.split(r"\s{2,}", line.strip())


def test_the_compose_commands_name_services_that_exist() -> None:
    """`docker compose up demo` with a service of another name starts nothing."""
    compose = yaml.safe_load((readme.ROOT / "docker-compose.yml").read_text())
    named = set(re.findall(r"docker compose up (\w+)\s|--scale (\w+)=", readme.DEPLOYING))
    assert {first or second for first, second in named} == {"demo", "worker"} <= set(compose["services"])
    for service, port in (("api", "8000"), ("demo", "8001")):
        assert f"127.0.0.1:{port}" in readme.DEPLOYING
        assert f":-{port}}}" in compose["services"][service]["ports"][0]


# Tables


def settings_table() -> dict[str, str]:
    """Variable -> default, as text; the settings of sources apart."""
    return {row[0].strip("`"): row[1].strip("`") for row in readme.table("Variable | Default")}


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None or value == {} else str(value)


def test_the_settings_table_is_that_of_the_code() -> None:
    """Every variable with its default, and none that is not."""
    wanted = {}
    for name in FIELDS.settings:
        variable = name.upper() if name.upper() in REDIS else f"TBCACHE_{name.upper()}"
        wanted[variable] = _shown(getattr(Settings(), name))
    assert settings_table() == wanted


def test_each_default_in_the_table_can_be_set() -> None:
    """A default that is copied from the table into the environment changes nothing."""
    given = {name: value for name, value in settings_table().items() if value}
    assert Settings.load(given) == Settings.load({})


def test_the_table_of_a_sources_settings_is_that_of_the_code() -> None:
    """Every `TBCACHE_<SOURCE>__` variable, and none that is not."""
    first = [row[0] for row in readme.table("Variable | Meaning")]
    named = [name for cell in first for name in re.findall(r"`__(\w+)`", cell)]
    assert sorted(named) == sorted(name.upper() for name in FIELDS.source)


def test_the_table_of_sources_is_that_of_the_code() -> None:
    """What a source is allowed, and what turns it on."""
    rows = readme.table("Source | Asks")
    assert [row[0] for row in rows] == list(BUILT_IN)
    for name, _, limits, turned_on in rows:
        source = BUILT_IN[name]
        needed = {f"TBCACHE_{name.upper()}__{field.upper()}" for field in source.credentials}
        assert limits == ",".join(map(str, source.limits))
        named = set(re.findall(r"`(\w+)`", turned_on))
        assert named == needed or (not needed and turned_on.startswith("nothing"))


def test_the_defaults_in_running_text_are_those_of_the_code() -> None:
    """Figures in a sentence rot first."""
    meanings = {row[0]: row[1] for row in readme.table("Variable | Meaning")}
    source = BUILT_IN["twitter"]
    assert f"({source.cache_ttl:g})" in meanings["`__CACHE_TTL`"]
    assert f"({source.stale_ttl:g})" in meanings["`__STALE_TTL`"]
    assert f"({BUILT_IN['news'].delay_hours:g} for NewsAPI" in meanings["`__DELAY_HOURS`"]


def test_the_scorers_figures_are_those_of_its_page() -> None:
    """There they stand beside how they were measured."""
    page = readme.page("docs/scoring.md")
    rows = re.findall(r"^\| (?:272|276|263|217|mean) .*?\| (0\.\d\d), (0\.\d\d) \|", page, re.MULTILINE)
    (ours, surest), (bank, _), (tweets, _), (posts, _), (mean, _) = rows
    assert f"macro-F1 {mean} on samples of three public sets" in " ".join(readme.TEXT.split())
    limitations = " ".join(readme.page("docs/limitations.md").split())
    assert f"macro-F1 {ours} over 272 sentences" in limitations
    assert f"and {surest} over the 70%" in limitations
    assert f"; {bank}, {tweets} and {posts} over samples of three public sets" in limitations


def test_every_variable_that_is_named_exists() -> None:
    """A variable of a page that tbcache refuses would stop whoever copies it."""
    known = set(settings_table())
    for name in (*BUILT_IN_NAMES, OWN, DECLARED):
        known |= {f"TBCACHE_{name.upper()}__{field.upper()}" for field in FIELDS.source}
    named = set(re.findall(r"\b(?:TBCACHE|REDIS)_\w+", readme.EVERYTHING)) - {"TBCACHE_", f"TBCACHE_{OWN}__"}
    assert named - known == {MISSPELT}


@pytest.mark.parametrize("assignment", sorted(set(re.findall(r'(?:TBCACHE_\w+)="[^"]+"', readme.EVERYTHING))))
def test_each_assignment_is_accepted(assignment: str) -> None:
    """Values in the README are written as they must be."""
    name, _, value = assignment.partition("=")
    own = {} if OWN not in name else {"TBCACHE_SOURCES": "bluesky=mybot.sources:Bluesky"}
    Settings.load({**own, name: value.strip('"')})


def test_the_defaults_a_class_may_have_are_all_named() -> None:
    """The list of fields is the documentation of a source of one's own."""
    bullet = readme.SOURCE[readme.SOURCE.index("- `defaults` are fields") :].split("\n- ")[0]
    named = set(re.findall(r"`(\w+)`", bullet)) - {"defaults", "Source", "TBCACHE_BLUESKY__API_KEY"}
    assert named == set(Source.__dataclass_fields__) - {"name", "provider", "missing"}


def test_the_http_paths_are_those_of_the_api() -> None:
    """Each is there, with its method, and none is left out."""
    api = create_app(get_settings()).openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in api.items() for method in methods}
    page = readme.page("docs/api.md")
    _, _, rest = page.partition("| Path | Answers |")
    rows = " ".join(line.split(" | ")[0] for line in rest.partition("\n\n")[0].splitlines())
    assert set(re.findall(r"`((?:GET|POST) [^`]+)`", rows)) == served
    assert set(re.findall(r"`((?:GET|POST) /api/[^`{}?]+)`", page)) <= served
