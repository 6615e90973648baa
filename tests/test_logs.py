"""The lines of the processes: what is in them, what never is, and where they go."""

from __future__ import annotations

import ast
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from tbcache.io import log_lock
from tbcache.io.lock import try_lock
from tbcache.io.log import configure_logging, get_logger
from tbcache.io.log_file import open_log_file
from tbcache.io.redact import LONGEST, Redactor
from tbcache.models.error import ConfigurationError
from tbcache.queue import PacingBroker
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store
from tests.cli.command import clean_environment
from tests.server import free_port
from tests.test_docs import rows_of
from tests.test_log import _root_as_before

__all__ = ["_root_as_before"]

ROOT = Path(__file__).parents[1]
LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
#: What any line may have beside the fields of its event.
COMMON = {"event", "level", "timestamp", "exception", "repeated", "message_id", "caller", "worker"}
COMMON |= {"trace_id", "span_id", "logger"}

# The table


def events() -> Iterator[tuple[str, str, set[str], bool]]:
    """Of each place that logs: the event, its level, its fields, and whether there may be more."""
    for folder in ("tbcache", "workers", "scheduler"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            for call in ast.walk(ast.parse(text)) if "log." in text else ():
                if _is_event(call):
                    fields, may_have_more = _fields(call)  # type: ignore[arg-type]
                    level = call.func.attr.replace("exception", "error")  # type: ignore[attr-defined]
                    yield call.args[0].value, level, fields, may_have_more  # type: ignore[attr-defined]


def _is_event(call: ast.AST) -> bool:
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS):
        return False
    return isinstance(call.func.value, ast.Name) and call.func.value.id == "log"


def _fields(call: ast.Call) -> tuple[set[str], bool]:
    fields, may_have_more = set(), False
    for keyword in call.keywords:
        if keyword.arg is None:
            may_have_more = True
        elif keyword.arg == "extra":
            fields |= {key.value for key in keyword.value.keys}  # type: ignore[attr-defined]
        elif keyword.arg != "exc_info":
            fields.add(keyword.arg)
    return fields, may_have_more


def table() -> dict[str, tuple[set[str], set[str]]]:
    """Of each event its levels and its fields, as the page has them."""
    rows = rows_of("docs/logs.md", "Event | Level")
    cells = {row[0].strip("` "): row for row in rows}
    return {
        name: (set(row[1].split(", ")), {one.strip("` ") for one in row[2].split(",")} - {"-"})
        for name, row in cells.items()
    }


def test_the_table_of_events_is_that_of_the_code() -> None:
    """Whoever writes a rule for a log collector goes by it."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    dynamic = set()
    for name, level, fields, may_have_more in events():
        levels, known = found.setdefault(name, (set(), set()))
        levels.add(level)
        known |= fields
        dynamic |= {name} if may_have_more else set()
    said = table()
    assert len(found) > 60
    assert list(said) == sorted(found)
    for name, (levels, fields) in found.items():
        assert said[name][0] == levels, name
        assert said[name][1] == fields or (name in dynamic and said[name][1] > fields), name
    assert not COMMON & set.union(*(fields for _, fields in said.values()))


# Jobs


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_within_a_job_names_it_and_one_says_how_it_ended(
    store: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a thousand jobs that run at once, one line is looked for."""
    configure_logging("info", "json")
    broker = PacingBroker(store, settings, [BUILT_IN["reddit"]])
    logging.getLogger("mybot").setLevel(logging.INFO)

    def work(fails: bool) -> None:
        logging.getLogger("mybot").info("at work")
        get_logger("tbcache.test").info("page.read")
        if fails:
            raise ValueError("no good")

    actor = dramatiq.actor(broker=broker, actor_name="work", max_retries=0)(work)
    sent = [
        actor.send_with_options(args=(fails,), caller="desk/bot")  # type: ignore[call-overload]
        for fails in (False, True)
    ]
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    try:
        broker.join("default", interval=5, timeout=30_000)
    finally:
        worker.stop(30_000)
    get_logger("tbcache.test").info("it.is_over")
    said = lines(capsys.readouterr().err)
    for message, outcome in zip(sent, ("done", "dead"), strict=True):
        of_job = [one for one in said if one.get("message_id") == message.message_id]
        assert {(one["caller"]) for one in of_job} == {"desk/bot"}
        assert {"at work", "page.read", "job.ended"} <= {one["event"] for one in of_job}
        assert all(one["worker"] for one in of_job)
        (end,) = [one for one in of_job if one["event"] == "job.ended"]
        assert (end["outcome"], end["actor"], end["source"]) == (outcome, "work", "default")
        assert set(end) <= table()["job.ended"][1] | COMMON
    (library,) = [one for one in said if one.get("logger") == "dramatiq.worker.WorkerThread"]
    assert (library["message_id"], "no good" in library["exception"]) == (sent[1].message_id, True)
    (over,) = [one for one in said if one["event"] == "it.is_over"]
    assert set(over) == {"event", "level", "timestamp"}


def test_a_worker_has_an_interrupt_leave_no_lock_of_a_handler_taken(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that a program starts itself. Later versions of Python do so by themselves."""
    monkeypatch.setattr(logging.Handler, "handle", log_lock._HANDLE)
    worker = dramatiq.Worker(PacingBroker(store, settings, []), worker_threads=1, worker_timeout=50)
    worker.start()
    worker.stop(30_000)
    assert (logging.Handler.handle is log_lock._HANDLE) == (sys.version_info >= (3, 13))


def test_a_thread_whose_job_is_over_names_it_no_more(
    store: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it says of Redis afterwards is no part of that job."""
    configure_logging("info", "json")
    broker = PacingBroker(store, settings, [])
    message: Any = dramatiq.Message("default", "work", (), {}, {})
    for signal in ("process_message", "skip_message"):
        broker.emit_before("process_message", message)
        get_logger("tbcache.test").info("it.is")
        broker.emit_after(signal, message)
        get_logger("tbcache.test").info("it.is_over")
    said = [one for one in lines(capsys.readouterr().err) if one["event"].startswith("it.is")]
    assert ["message_id" in one for one in said] == [True, False, True, False]


def test_each_line_within_a_span_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    """From a slow trace to its lines, and back."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span

    configure_logging("info", "json")
    with use_span(NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False))):
        get_logger("tbcache.test").info("it.is")
        logging.getLogger("mybot").warning("at work")
    get_logger("tbcache.test").info("it.is_over")
    *within, after = lines(capsys.readouterr().err)
    assert [(one["trace_id"], one["span_id"]) for one in within] == [(f"{0xABC:032x}", f"{0xDEF:016x}")] * 2
    assert "trace_id" not in after


# Secrets

#: A credential of each setting that has one.
PLANTED = {
    "REDIS_URL": "redis://:hunter2-redis@127.0.0.1:{port}/0",
    "TBCACHE_DATABASE_URL": "postgresql://me:hunter2-sql@127.0.0.1:1/x",
    "TBCACHE_API_TOKEN": "hunter2-of-the-api",
    "TBCACHE_TWITTER__BEARER_TOKEN": "hunter2-twitter",
    "TBCACHE_NEWS__API_KEY": "hunter2-news",
    "TBCACHE_NEWS__BASE_URL": "http://me:hunter2-base@127.0.0.1:{port}",
    "TBCACHE_REDDIT__CLIENT_ID": "me",
    "TBCACHE_REDDIT__CLIENT_SECRET": "hunter2-reddit/+",
    "TBCACHE_ALERT_WEBHOOK_URL": "http://127.0.0.1:{port}/hunter2-hook?key=hunter2-query",
    "TBCACHE_ALERT_WEBHOOK_SECRET": "whsec_aHVudGVyMi13aHNlYy1odW50ZXIyLXdoc2Vj",
}
#: Tells the log of them in each way there is, and ends by an error of its own.
LEAKY = """
import asyncio, gc, logging, sys, threading, warnings
from urllib.parse import quote
import httpx2
from tbcache import get_provider
from tbcache.fleet.alert import Webhook, trial_message
from tbcache.io.log import REPEATED, configure_logging, get_logger, log_what_breaks
from tbcache.models.error import TbcacheError
from tbcache.settings import get_settings
from tbcache.store import get_store
from tbcache.store.start import require

settings = get_settings()
log_what_breaks()
log, secrets = get_logger("tbcache.test"), sorted(settings.secrets)
every = " ".join([*secrets, *map(quote, secrets), *map(repr, secrets), settings.redis])

class Bad:
    def __init__(self, text): self.text = text
    def __repr__(self): return self.text
    def __del__(self):
        if "del" in self.text: raise ValueError(every)

def broken(): raise RuntimeError(f"GET https://x.test/?apiKey=unknown-1&q=GME failed: {every}")

for form in ("json", "console"):
    print(f"-- {form}", file=sys.stderr, flush=True)
    configure_logging("debug", form, settings.secrets)
    REPEATED.forget()
    log.info("it.failed", reason=every, told=[every, {"a": every}], error=Bad(every), password="unknown-2")
    url = "https://a:unknown-3@x.test/?a_token=unknown-4&sig=unknown-7&q=1"
    logging.getLogger("httpx2").info("GET %s %s", url, every)
    logging.getLogger("x").warning('{"token": "unknown-5", "n": 1} Authorization: Bearer unknown-6')
    warnings.warn(every)
    try: broken()
    except RuntimeError: log.exception("it.failed_again", why=every)
    thread = threading.Thread(target=broken, name="mine"); thread.start(); thread.join()
    Bad("del"); gc.collect()
    async def task(): asyncio.get_running_loop().call_soon(broken); await asyncio.sleep(0)
    asyncio.run(task())
    for name in ("news", "twitter", "reddit"):
        try: get_provider(name).fetch("AAPL")
        except TbcacheError as error: log.warning("it.ended", error=error, reason=str(error))
    print(Webhook.of(settings).send(trial_message("a")), file=sys.stderr)
    try: require(get_store())
    except TbcacheError as error: log.warning("it.ended_too", error=error)
broken()
"""


def test_no_planted_secret_is_in_a_line_whichever_way_it_takes(tmp_path: Path) -> None:
    """Logs are read by many, and sent to services of others."""
    port = str(free_port())
    variables = {name: value.replace("{port}", port) for name, value in PLANTED.items()}
    done = subprocess.run(
        [sys.executable, "-c", LEAKY],
        cwd=tmp_path,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout) == (1, "")
    for secret in ("hunter2", "unknown-", PLANTED["TBCACHE_ALERT_WEBHOOK_SECRET"]):
        assert [line for line in done.stderr.splitlines() if secret in line] == []
    of_json, of_console = done.stderr.partition("-- console\n")[::2]
    for said in (of_json, of_console):
        for event in ("it.failed", "it.failed_again", "thread.broke", "error.ignored", "it.ended_too"):
            assert event in said
        for part in ("q=GME", "mine", "GET https://***@x.test/?a_token=***&sig=***&q=1"):
            assert part in said
    # Python tells of a warning once.
    assert "UserWarning" in of_json
    assert "process.broke" in of_console
    libraries = {json.loads(line).get("logger") for line in of_json.splitlines() if line.startswith("{")}
    assert {"httpx2", "py.warnings", "asyncio", "x"} <= libraries


@pytest.mark.parametrize(
    "line",
    [
        "twitter is off: set TBCACHE_TWITTER__BEARER_TOKEN",
        "the upstream refuses the credentials: set TBCACHE_NEWS__API_KEY anew",
        "GET https://x.test/search?q=GME&page=2 answered 429",
        "key=twitter:AAPL:24 hours=24",
        "no worker is running: start one with `tbcache worker`",
        "a basic plan, and the bearer of news",
        "redis://127.0.0.1:6379/0 does not answer",
        "the author: ada",
    ],
)
def test_what_is_no_credential_stays(line: str) -> None:
    """A log that masks what one looks for is none."""
    assert Redactor(["a-secret"]).text(line) == line


def test_of_a_long_text_a_part_is_shown_that_ends_in_no_part_of_a_secret() -> None:
    """An upstream's error page of a megabyte must not hold a thread."""
    shown = Redactor(["a-secret"]).text(f"{'x' * (LONGEST - 4)} a-secret {'a.b-=' * 200_000}")
    assert len(shown) == LONGEST + 3
    assert "a-" not in shown


@pytest.mark.parametrize(
    "name", ["token", "apikey", "X-Api-Key", "access_token", "Authorization", "client_secret", "session-id"]
)
def test_a_credential_is_known_by_its_name_wherever_it_stands(name: str) -> None:
    """As a field, within one, and in a text."""
    redactor = Redactor()
    fields = redactor.fields(
        {name: "hunter2", "headers": {name: b"hunter2"}, "told": f'{{"{name}": "hunter2"}}'}
    )
    assert fields == {name: "***", "headers": {name: "***"}, "told": f'{{"{name}": "***"}}'}
    assert redactor.text(f"{name}=hunter2") == f"{name}=***"
    assert redactor.fields({"key": "reddit:GME:24"}) == {"key": "reddit:GME:24"}


def test_masks_shorten_a_text_and_show_no_part_at_its_end() -> None:
    """Where it is cut a credential may be cut."""
    for shift in range(17):
        assert "abcd" not in Redactor(["abcd1234efgh5678"]).text(" " * shift + "abcd1234efgh5678 " * 4000)


# Files

WRITER = """
import sys
from pathlib import Path
from tbcache.io import log_file
from tbcache.io.log import configure_logging, get_logger, log_what_breaks
log_file.LOG_BYTES, log_file.KEPT_FILES = 2000, 3
configure_logging("info", "json", (), Path(sys.argv[1]))
log_what_breaks()
for number in range(200):
    get_logger("tbcache.test").info("it.is", number=number)
    if number % 10 == 0: print(f"printed {number}", file=sys.stderr, flush=True)
raise ValueError("the end")
"""


def test_a_full_log_goes_on_in_a_new_file_and_few_are_kept(tmp_path: Path) -> None:
    """A year of logs fills the disk that Redis is on."""
    file = tmp_path / "worker.log"
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(file)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr, done.stdout) == (1, "", "")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["worker.log", "worker.log.1", "worker.log.2", "worker.log.3", "worker.log.lock"]
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o600"}
    files = [file.with_name(name) for name in (*reversed(names[1:4]), names[0])]
    assert all(path.stat().st_size < 2500 for path in files)
    text = "".join(path.read_text() for path in files)
    numbers = [json.loads(line)["number"] for line in text.splitlines() if '"it.is"' in line]
    # Nothing is lost between two files, and what is printed goes where the lines go.
    assert numbers == list(range(numbers[0], 200))
    assert "printed 190" in text
    assert "ValueError: the end" in file.read_text()


def test_a_log_that_cannot_be_rotated_goes_on_in_its_file_and_says_so_once(tmp_path: Path) -> None:
    """Each second line was lost, and nobody knew."""
    file = tmp_path / "worker.log"
    # Nobody may put a file in the place of a folder, root included.
    for number in (1, 2, 3):
        (tmp_path / f"worker.log.{number}" / "x").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(file)], env=clean_environment(), capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (1, b"")
    said = file.read_text().splitlines()
    events = [json.loads(line) for line in said if line.startswith("{")]
    assert [one["number"] for one in events if one["event"] == "it.is"] == list(range(200))
    assert [one["level"] for one in events if one["event"] == "log.not_rotated"] == ["warning"]
    assert "printed 190" in said


def test_two_processes_never_write_to_one_file(tmp_path: Path) -> None:
    """The one would rename the file that the other writes to."""
    file = tmp_path / "worker.log"
    held = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT)
    assert try_lock(held)
    with pytest.raises(ConfigurationError, match="is another process's: give each its own TBCACHE_LOG_FILE"):
        open_log_file(file)
    os.close(held)
    assert not file.exists()


def test_a_log_file_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    """A process that starts without a log is one of which nobody learns anything."""
    with pytest.raises(
        ConfigurationError, match=r"cannot be written \(No such file or directory\); set another"
    ):
        open_log_file(tmp_path / "nowhere" / "x.log")
