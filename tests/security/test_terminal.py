"""What models, files and tools said, at a terminal: it steers nothing there, whatever the command."""

from __future__ import annotations

import json
import os
import pty
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.conftest import Cli, Files, Script, plan, submit, subtask, use
from tests.security.foreign import write_events
from tests.unit.test_redaction import events

CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\x07"
HOSTILE = (
    f"{CLIPBOARD}\x1b]0;title\x1b\\\x1b]8;;http://evil/\x1b\\link\x1b]8;;\x1b\\\x1bP$q\x1b\\\x1b[2J\x1b[?1049h\x9b31m\x9d0;t\x9c"
    "\x07\x08\x7f\u202eorder\u2066\u2028line\u2029\x85[red]markup[/red]\rover"
)
STEERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
ENDS_A_LINE = re.compile(r"[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


@pytest.fixture
def hostile_run(cli: Cli) -> Path:
    """A run with such texts in each field that may hold one."""
    folder = cli.home / "runs" / "20260101-000000-hostile"
    write_events(folder, (event for event in events(HOSTILE) if event.type != "run_end"))
    (folder / "patch.diff").write_text(f"diff --git a/x{HOSTILE} b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+{HOSTILE}\n")
    return folder


COMMANDS = (
    ("show", "last"),
    ("runs",),
    ("watch", "last"),
    ("validate", "last"),
    ("report", "last", "--html", "page.html"),
    ("export", "last", "--format", "sft", "--out", "out"),
    ("resume", "last"),
    ("show", HOSTILE),
    ("run", HOSTILE, "--no-repo", "--model", HOSTILE, "--base-url", "http://127.0.0.1:9/v1"),
    ("eval", "compare", HOSTILE),
)


def test_no_command_hands_it_on(cli: Cli, hostile_run: Path) -> None:
    (cli.home / "runs" / "-x;$(touch x)\x1b]0;title\x07").mkdir()
    for command in COMMANDS:
        done = cli(*command)
        assert not (found := STEERS.search(done.out + done.err)), (command, found)
    assert "[red]markup[/red]" in cli("show", "last").out, "what looks like markup is text"
    told = cli("completion", "words", "show", "").out.split()
    assert hostile_run.name in told, told
    assert all(re.fullmatch(r"\w[\w.-]*", each) for each in told), "no name that a shell could take for a command"


def test_json_stays_one_object_a_line(cli: Cli, hostile_run: Path) -> None:
    for command in (("show", "last"), ("watch", "last"), ("runs",), ("validate", "last"), ("resume", "last")):
        done = cli(*command, "--json")
        assert done.out, command
        assert not STEERS.search(done.out), command
        for line in done.out.splitlines():
            assert isinstance(json.loads(line), dict)
    assert HOSTILE in [line.get("message") for line in cli("show", "last", "--json").lines], "it says the same"


@pytest.fixture
def hostile_script(script: Script, make_repo: Callable[[Files], Path]) -> Path:
    """A run whose model says such things, and whose tools do."""
    one = subtask("one") | {"title": HOSTILE.replace("\r", "")[:150]}
    script.planner(plan(one, rationale=HOSTILE), {"json": {"rationale": HOSTILE, "subtasks": []}})
    shell = f"cat <<'E'\n{HOSTILE}\nE\ntouch \"$(printf 'a\\033]0;x\\007b')\"; exit 3"
    says = {**use("bash", command=shell), "content": HOSTILE}
    script.agent("one", says, use("write", path=HOSTILE, content="x"), submit(HOSTILE))
    return make_repo({"a.txt": "a\n"})


def test_a_run_while_it_goes_on(cli: Cli, script: Script, hostile_script: Path) -> None:
    box = ("--repo", str(hostile_script), "--sandbox", cli.box, "--yes", "--test", f"echo '{CLIPBOARD}'; false")
    done = cli("run", f"task {HOSTILE}", *box, "--model", script.model)
    assert done.code == 1 and "one" in done.err, done.err
    assert not (found := STEERS.search(done.out + done.err)), found
    told = cli.run("task", hostile_script, "--model", script.model)
    assert told.result["status"] == "completed"
    assert not ENDS_A_LINE.search(told.out) and not STEERS.search(told.out)


def test_the_screen_writes_nothing_but_its_own(cli: Cli, script: Script, hostile_script: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    where = ("--repo", str(hostile_script), "--sandbox", cli.box, "--patch", str(tmp_path / "p.diff"))
    process = cli.warm.start(
        ("run", "task", "--yes", "--model", script.model, *where),
        cli.cwd,
        {**cli.env, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
        io=(theirs, theirs, theirs),
    )
    os.close(theirs)
    shown = bytearray()
    with suppress(OSError):  # the terminal's other end is closed with the process
        while part := os.read(ours, 1 << 16):
            shown += part
    process.communicate(60)
    os.close(ours)
    text = shown.decode(errors="replace")
    assert "\x1b[?1049h" in text, "the screen was there"
    assert text.count("\x1b[?1049h") == 1
    for sequence in ("\x1b]52", "\x1b]0;", "\x1b]8", "\x1bP", "\x9b", "\x9d", "\u202e", "\x07"):
        assert sequence not in text, repr(sequence)
