"""The pages hold: what they link to, name and list is there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tbcache.admission import Verdict
from tbcache.cache import CacheManager
from tbcache.fetch import Pipeline
from tbcache.io import utc_now
from tbcache.models import Charge, FetchRequest, Lane, Origin
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings
from tbcache.store import Store
from tests import architecture
from tests.blocking import Admission, core
from tests.core.conftest import Kept, Upstream
from tests.server import Server

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md"))
)

#: What stands in backticks and is the path of a file or a folder of ours, if every word of it is plain.
_PATH = re.compile(r"`((?:tbcache|tests|workers|scheduler|docs|bench|examples)/[\w./-]+)`")


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_inside_the_repository_resolves(page: str) -> None:
    """A reader who follows one arrives."""
    for link in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target.read_text("utf-8")), link


def test_the_readme_leads_to_every_page() -> None:
    """Who does not know that a page is there does not look for it."""
    _, _, index = text_of("README.md").partition("\n## More to read\n")
    assert {page for page in PAGES if page.startswith("docs/")} - set(
        re.findall(r"\((docs/\w+\.md)\)", index)
    ) == set()


def _anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    """Files move, and a page that sends its reader to where one was is worse than none."""
    named = [name for name in _PATH.findall(text_of(page)) if "NAME" not in name]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_make_target_is_explained() -> None:
    """Who works on this knows what each proves before starting it, and finds none that is gone."""
    phony = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for line in phony for target in line.split()}
    assert set(re.findall(r"`make ([\w-]+)`", text_of("CONTRIBUTING.md"))) == targets


# The architecture

ARCHITECTURE = "docs/architecture.md"


def rows_of(page: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the table whose head begins with ``heading``."""
    _, _, rest = text_of(page).partition(f"\n| {heading} |")
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def keys_in_the_map() -> dict[str, list[str]]:
    """The other cells of each row of the key map, by the name of its key."""
    return {name.strip("`"): cells for name, *cells in rows_of(ARCHITECTURE, "Name")}


def test_the_floors_that_are_drawn_are_those_that_are_checked() -> None:
    """Who draws a new module in is told here where import-linter has it."""
    drawn = re.findall(r"```text\n(.*?)```", text_of(ARCHITECTURE), re.DOTALL)[0].splitlines()
    # Two blanks between the names, more before what is said of them.
    assert [re.split(r"\s{4,}(?=\S)", line)[0].split() for line in drawn] == architecture.layers()


def test_every_key_is_in_the_key_map() -> None:
    """A key that nobody wrote down is found by whoever asks why Redis is full."""
    shown = {name: cells[0].strip("`") for name, cells in keys_in_the_map().items()}
    assert shown == architecture.key_names()


def test_the_types_in_the_key_map_are_those_in_redis(
    server: Server, store_for: Callable[..., Store], settings: Settings
) -> None:
    """Who looks into Redis by the map uses the right command."""
    store = store_for(server, TBCACHE_REDIS_TIMEOUT="10")
    monitor, keeper = UsageMonitor(store, settings), Kept()
    pipeline = Pipeline(core(Admission(store, settings, monitor)), lambda: keeper)  # type: ignore[arg-type, return-value]
    pipeline.run(Upstream(persist_to_db=True), FetchRequest("twitter", "AAPL"))
    CacheManager(store).clear_pattern("reddit:*")
    monitor.record_request("anything")
    monitor.flush()
    monitor.beat("client", started_at=utc_now())
    seen = {
        name: server.client.type(key).decode() for key in server.client.scan_iter() if (name := name_of(key))
    }
    assert {"slots", "state", "usage", "entry", "clears", "outbox", "workers", "layout"} <= set(seen)
    types = {name: cells[1] for name, cells in keys_in_the_map().items()}
    assert seen == {name: types[name] for name in seen}


def name_of(key: bytes) -> str | None:
    """The name in the map of a key in Redis that has one type."""
    for name, pattern in architecture.key_names().items():
        form = re.sub(
            r"SOURCE|REST|YYYYMMDD(HH)?|JOB|PART",
            lambda _: ".+",
            re.escape(pattern.replace("$ns", "trading_bot")),
        )
        if re.fullmatch(form, key.decode()):
            return None if name in ("queue", "wake") else name
    return None


def test_the_table_of_scripts_is_that_of_their_declarations() -> None:
    """`python -m tests.architecture` writes it anew."""
    found = architecture.TABLE.search(text_of(ARCHITECTURE))
    assert found is not None
    assert found[0] == architecture.table_of_scripts()


def test_the_table_of_metrics_is_that_of_their_declarations() -> None:
    """`python -m tests.architecture` writes it anew."""
    found = architecture.METRICS_TABLE.search(text_of("docs/metrics.md"))
    assert found is not None
    assert found[0] == architecture.table_of_metrics()


def test_the_readme_compares_limiters_by_the_figures_of_the_bench() -> None:
    """`python -m tests.architecture` writes them anew: of two figures for one thing neither is believed."""
    found = architecture.LIMITERS_TABLE.search(text_of("README.md"))
    assert found is not None
    assert found[0] == architecture.table_of_limiters()


def test_every_script_has_a_caller() -> None:
    """A table of declarations would be as green if nothing ran any of them."""
    assert [row for row in rows_of(ARCHITECTURE, "Script") if not row[-1].endswith(".py")] == []


def test_every_thread_is_in_the_table_of_threads() -> None:
    """Who meets one in a stack dump learns what it does."""
    assert {row[0].strip("`") for row in rows_of(ARCHITECTURE, "Thread")} == architecture.thread_names()


def test_every_test_that_the_page_names_is_there() -> None:
    """A figure is as good as the test that measures it."""
    named = re.findall(r"`(test_\w+)` in `(tests/[\w/.]+)`", text_of(ARCHITECTURE))
    assert len(named) >= 3
    assert [name for name, path in named if f"def {name}(" not in (ROOT / path).read_text()] == []


# The glossary

GLOSSARY = "docs/glossary.md"


def test_every_word_is_at_home_where_the_glossary_says() -> None:
    """A word that was renamed is taken out of the list by who renames it, or misleads whoever looks it up."""
    rows = rows_of(GLOSSARY, "Word")
    assert len(rows) > 50
    gone = [word for word, *_, place in rows if not _says(ROOT / place.strip("` "), word)]
    assert gone == []


def _says(path: Path, word: str) -> bool:
    """Whether the file's text, or its name, has the word, with its endings."""
    form = r"[-_\s]?".join(map(re.escape, re.split("[- ]", word)))
    return re.search(rf"(?<![a-z]){form}", path.read_text("utf-8"), re.IGNORECASE) is not None


def test_the_glossary_is_in_order_and_has_each_word_once() -> None:
    """Who looks a word up finds it, or knows that it is missing."""
    words = [row[0] for row in rows_of(GLOSSARY, "Word")]
    assert words == sorted(set(words))


def test_verdicts_lanes_origins_and_charges_are_in_the_glossary() -> None:
    """They stand in logs, figures and outcomes, where people meet them without their code."""
    text = text_of(GLOSSARY)
    words = [kind.__name__.lower() for kind in get_args(Verdict)]
    words += [word for kind in (Lane, Origin, Charge) for word in get_args(kind)]
    assert len(words) > 10
    assert [word for word in words if f"| {word} |" not in text and f"`{word}`" not in text] == []
