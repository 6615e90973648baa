"""What a shell completes, and the faults of a demo."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tbcache.cli import main
from tests.cli.command import Done, clean_environment
from tests.server import free_port
from tests.upstream import SimulatorProcess

Cli = Callable[..., Done]

LINES = {
    "tbcache queue pa": "pause",
    "tbcache fetch stockt": "stocktwits",
    "tbcache usage --by work": "worker",
    "tbcache warm AAPL --sou": "--source",
    "tbcache faults set news quo": "quota=exhausted",
}
#: To make the command takes as long as all of that: what differs from shell to shell is tried in each.
BRIEF = list(LINES)[:2]


@pytest.mark.parametrize(("shell", "lines"), [("bash", LINES), ("zsh", BRIEF), ("fish", BRIEF)])
def test_commands_options_and_sources_are_completed(
    shell: str, lines: Iterable[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who presses TAB need not know a name by heart."""
    monkeypatch.setenv("_TBCACHE_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    for line in lines:
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        with pytest.raises(SystemExit) as end:
            main([])
        captured = capsys.readouterr()
        assert (end.value.code, captured.err) == (0, "")
        assert LINES[line] in captured.out, line


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(cli: Cli, shell: str) -> None:
    """What is printed goes into a file, and nothing else comes with it."""
    done = cli("completion", shell, "--data-dir", ".tbcache")
    assert (done.code, done.err) == (0, "")
    assert f"_TBCACHE_COMPLETE=complete_{shell}" in done.out
    assert "to keep it, write this into" in cli("completion", is_terminal=True, SHELL=f"/bin/{shell}").err


COMPLETING = {
    "bash": """
eval "$(cat tbcache.completion)"
for COMP_LINE in "tbcache queue re" "tbcache queue pause --why='a: b' twi"; do
    COMP_POINT=${#COMP_LINE}
    _tbcache_completion tbcache
    echo "${COMPREPLY[@]}"
done
""",
    "fish": 'source tbcache.completion; complete -C "tbcache queue re" | cut -f 1',
    # As somebody types it, in a shell that finds the script by itself: once, and once more.
    "zsh": """
mv tbcache.completion _tbcache
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "fpath+=$PWD; autoload -Uz compinit; compinit -u -d dump; PS1=rea; PS1+=dy"
zpty -r -m shell shown '*ready*'
for word in resum paus; do
    zpty -w -n shell "tbcache queue $word"$'\t'
    zpty -r -m shell shown '*(resume|pause)*' && print ${shown##*queue }
    zpty -w -n shell $'\x15'
done
""",
}


@pytest.mark.parametrize(
    ("shell", "completed"),
    [("bash", ["resume", "twitter"]), ("fish", ["resume"]), ("zsh", ["resume", "pause"])],
)
def test_each_shell_completes_by_that_script(
    cli: Cli, tmp_path: Path, shell: str, completed: list[str]
) -> None:
    """Bash also behind a word that has a blank, or what it cuts a word at."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    (tmp_path / "tbcache.completion").write_text(cli("completion", shell).out)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        [shell, "-c", COMPLETING[shell]],
        env=clean_environment(PATH=path, HOME=str(tmp_path)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (re.findall(r"^\w+", done.stdout, re.MULTILINE), done.stderr) == (completed, "")


@pytest.fixture
def demo(simulator: SimulatorProcess) -> Iterator[dict[str, str]]:
    yield dict(simulator.variables)
    simulator.clear_faults()


def test_faults_of_a_demo_are_set_listed_and_lifted(
    cli: Cli, demo: dict[str, str], simulator: SimulatorProcess
) -> None:
    """What a fleet does on a bad day is seen by having one."""

    def faults(*args: str) -> dict[str, Any]:
        done = cli("faults", *args, **demo)
        assert (done.code, done.err) == (0, "")
        found: dict[str, Any] = done.data
        return {name: one for name, one in found.items() if one}

    assert faults() == faults("list") == {}
    assert faults("set", "reddit", "outage=drop", "latency=0,0.1") == {
        "reddit": {"outage": "drop", "latency": [0.0, 0.1]}
    }
    assert faults("set", "reddit", "status=502", "error_rate=0.5")["reddit"]["outage"] == "drop"
    assert faults("set", "all", "empty").keys() == {"twitter", "reddit", "news", "options", "stocktwits"}
    assert faults("clear", "reddit").keys() == {"twitter", "news", "options", "stocktwits"}
    table = cli("faults", is_terminal=True, COLUMNS="100").out.splitlines()
    assert [line.split() for line in table[1:3]] == [["twitter", "empty=true"], ["reddit", "-"]]
    assert faults("clear") == {}
    assert faults("list", "--url", simulator.url) == {}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("set", "redit", "outage"), 2, "did you mean 'reddit'? (known: all, news, options, reddit, "),
        (("clear", "redit"), 2, "did you mean 'reddit'? (known: all, news, options, reddit, "),
        (("set", "reddit", "outge"), 2, "did you mean 'outage'?"),
        (("set", "reddit", "error_rate=2"), 2, "reddit.error_rate=2 is not valid"),
        (("set", "reddit", "=1"), 2, "it should be NAME or NAME=VALUE, like status=429"),
        (("list", "--url", f"http://127.0.0.1:{free_port()}"), 1, "does not answer as one"),
        (("list", "--url", "nonsense"), 2, "'nonsense' is no address: it should be like http://"),
        (("list", "--url", "http://["), 2, "'http://[' is no address: it should be like http://"),
    ],
)
def test_what_is_no_fault_changes_none(
    cli: Cli, demo: dict[str, str], simulator: SimulatorProcess, args: tuple[str, ...], code: int, said: str
) -> None:
    """One line says what would be right."""
    done = cli("faults", *args, **demo)
    assert (done.code, done.out, len(done.err.splitlines())) == (code, "", 1)
    assert said in done.err
    assert not any(cli("faults", "list").data.values()) if "--url" not in args else True


def test_the_real_apis_have_no_faults_to_set(cli: Cli) -> None:
    """Nothing of it is ever sent to them."""
    done = cli("faults", "set", "twitter", "outage")
    assert done.code == 2
    assert "no simulator is asked here: run this where `tbcache up --demo` runs" in done.err
