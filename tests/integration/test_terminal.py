"""`swarm run` at a terminal and under signals: the plan in an editor, the test command, the patch, Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from swarm.events import ANY_EVENT, Answered, RunStarted, StageStarted
from tests.warm import PIPED, Process, Warm

ROOT = Path(__file__).parents[2]
WAITED = 300  # seconds in which something is to be seen
SUBTASKS = [
    {"id": "one", "title": "One", "instructions": "Do one.", "files": ["a.py"]},
    {"id": "two", "title": "Two", "instructions": "Do two.", "files": ["b.py"]},
]


def writes(path: str, content: str) -> dict[str, Any]:
    return {"tool_calls": [{"name": "write", "arguments": {"path": path, "content": content}}]}


DONE = {"tool_calls": [{"name": "submit", "arguments": {"status": "done", "summary": "well"}}]}
WAITS = {"tool_calls": [{"name": "bash", "arguments": {"command": "sleep 1000"}}]}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    for name in ("a.py", "b.py"):
        (folder / name).write_text("value = 1\n")
    (folder / "Makefile").write_text("test:\n\tgrep -q value a.py\n")
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "start"]):
        who = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(folder), *who, *args], check=True)
    return folder


class Runs:
    """Starts `swarm` in a repository with a scripted model."""

    def __init__(self, tmp_path: Path, repo: Path, warm: Warm) -> None:
        self.folder, self.repo, self.kept = tmp_path, repo, tmp_path / "kept"
        self.warm = warm
        (tmp_path / "home").mkdir()
        self.script("", [writes("b.py", "value = 2\n"), DONE])

    def script(self, rationale: str, two: list[dict[str, Any]]) -> None:
        rules = [
            {"role": "planner", "match": "## Stage", "turns": [{"json": {"rationale": "done", "subtasks": []}}]},
            {"role": "planner", "turns": [{"json": {"rationale": rationale, "subtasks": SUBTASKS}}]},
            {"role": "subagent", "match": "Do one", "turns": [writes("a.py", "value = 2\n"), DONE]},
            {"role": "subagent", "turns": two},
        ]
        (self.folder / "script.json").write_text(json.dumps({"rules": rules}))

    def order(self, *options: str, **env: str) -> tuple[list[str], dict[str, str]]:
        """The words of a command, and its environment."""
        model = ["--model", f"embedded:script:{self.folder / 'script.json'}", "--sandbox", "process"]
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "SWARM_HOME": str(self.kept)}
        kept |= {"PYTHONPATH": str(ROOT), "TERM": "dumb", "PAGER": "cat", "NO_COLOR": "1", **env}
        return ["run", "Mend it", *model, *options], kept

    def start(self, *options: str, io: Any = PIPED, **env: str) -> Process:
        words, kept = self.order(*options, **env)
        return self.warm.start(words, self.repo, kept, io=io)

    @contextmanager
    def at_terminal(self, *options: str, **env: str) -> Iterator[Terminal]:
        ours, theirs = pty.openpty()
        process = self.start(*options, io=(theirs, theirs, theirs), **env)
        os.close(theirs)
        terminal = Terminal(process, ours)
        try:
            yield terminal
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=WAITED)
            with suppress(OSError):
                os.close(ours)

    def events(self, kind: Any) -> list[Any]:
        """Those of this type in the last run."""
        found = map(ANY_EVENT.validate_json, (self.last() / "events.jsonl").read_bytes().splitlines())
        return [event for event in found if isinstance(event, kind)]

    def last(self) -> Path:
        """The folder of the last run; two may begin within a second."""
        return max((self.kept / "runs").iterdir(), key=lambda run: (run / "result.json").stat().st_mtime_ns)

    def nothing_left(self) -> bool:
        """Neither leases nor processes: what was killed is given the time in which the kernel buries it."""
        limit = time.monotonic() + WAITED
        while self._left():
            if time.monotonic() > limit:
                return False
            time.sleep(0.02)  # other processes are waited for
        return True

    def _left(self) -> bool:
        leases = self.kept / "leases"
        marked = subprocess.run(["grep", "-lsF", str(leases), *map(str, Path("/proc").glob("[0-9]*/environ"))],
                                capture_output=True, check=False).stdout  # fmt: skip
        return bool(marked) or [path.name for path in leases.iterdir()] != [".lock"]


class Terminal:
    """The other end of a run's terminal."""

    def __init__(self, process: Process, fd: int) -> None:
        self.process, self.fd, self.seen, self._at = process, fd, "", 0

    def until(self, words: str) -> None:
        """Read until this is seen, after what was waited for before."""
        while words not in self.seen[self._at :]:
            assert select.select([self.fd], [], [], WAITED)[0], self.seen
            self.seen += os.read(self.fd, 65536).decode(errors="replace")
        self._at = self.seen.index(words, self._at) + len(words)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self) -> int:
        with suppress(OSError):
            while data := os.read(self.fd, 65536):
                self.seen += data.decode(errors="replace")
        return self.process.wait(timeout=300)


@pytest.fixture
def runs(tmp_path: Path, repo: Path, warm: Warm) -> Runs:
    return Runs(tmp_path, repo, warm)


def editor(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "an editor"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return {"EDITOR": f"'{path}'"}


def test_the_edited_plan_is_what_runs(runs: Runs, tmp_path: Path) -> None:
    mends = 'if grep -q "^# WRONG" "$1"; then sed -i "s/titel/title/;s/One/First/;/^id = .two/,\\$d" "$1"'
    env = editor(tmp_path, f'{mends}; sed -i "\\$d" "$1"; else sed -i s/title/titel/ "$1"; fi')
    with runs.at_terminal(**env) as terminal:
        terminal.until("[y/N]")
        assert "gate: make test (found by Makefile: test)" in terminal.seen
        terminal.type("e\n")
        terminal.until("the nearest is 'title'")
        terminal.until("[y/N]")  # it was wrong once, and then run
        assert "Apply the patch" in terminal.seen
        terminal.type("d\n")
        terminal.until("[y/N]")
        assert "+value = 2" in terminal.seen
        terminal.type("b main\n")
        terminal.until("exists already")
        terminal.until("[y/N]")
        terminal.type("b mended\n")
        assert terminal.end() == 0
    (stage,) = runs.events(StageStarted)
    assert [(subtask.id, subtask.title) for subtask in stage.plan.subtasks] == [("one", "First")]
    (answered,) = [event for event in runs.events(Answered) if event.kind == "plan"]
    assert answered.plan == stage.plan
    shown = subprocess.run(["git", "-C", str(runs.repo), "show", "mended:a.py"], capture_output=True, check=True)
    assert shown.stdout == b"value = 2\n"


def test_another_test_command_and_an_emptied_plan(runs: Runs, tmp_path: Path) -> None:
    env = editor(tmp_path, f'if [ -e {tmp_path}/seen ]; then : >"$1"; fi; touch {tmp_path}/seen')
    with runs.at_terminal(**env) as terminal:
        terminal.until("[y/N]")
        terminal.type("e\n")
        terminal.until("nothing was changed")
        terminal.until("[y/N]")
        terminal.type("t\n")
        terminal.until("planned anew:")
        terminal.type("true # mine\n")
        terminal.until("gate: true # mine")
        terminal.until("[y/N]")
        terminal.type("e\n")
        assert terminal.end() == 130
    assert "the plan was declined" in terminal.seen
    assert "gate on the base: passed: true # mine" in terminal.seen
    result = json.loads((runs.last() / "result.json").read_text())
    assert result["gate"] is None  # no tree of an answer was tested
    (started,) = runs.events(RunStarted)
    assert (started.config["test"], started.config["test_found"]) == ("true # mine", "")


def test_what_was_found_and_cannot_be_run_is_left_out(runs: Runs) -> None:
    (runs.repo / "Makefile").unlink()
    (runs.repo / "gradlew").write_text("#!/nowhere/sh\n")
    (runs.repo / "build.gradle").write_text("")
    (runs.repo / "tests").mkdir()
    (runs.repo / "tests/conftest.py").write_text("")  # pytest finds nothing to run there
    out, told = runs.start("--json").communicate(timeout=300)
    envelope = json.loads(out.splitlines()[-1])
    assert (envelope["status"], envelope["exit_code"], envelope["gate"]) == ("completed", 0, None)
    if subprocess.run(["python3", "-I", "-c", "import pytest"], capture_output=True, check=False).returncode:
        assert "no gate: " in told and "the sandbox has no" in told  # seen before the run
    else:
        assert "the gate is `python3 -m pytest -q`, found by tests/" in out
        assert '"gate_left_out":true' in out
    assert "not applied: the gate" not in told


def started(process: Process | subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if wanted(json.loads(line)):
            return
    raise AssertionError("it ended before")


def envelope(process: Process | subprocess.Popen[str]) -> dict[str, Any]:
    stdout, stderr = process.communicate(timeout=300)
    assert "Traceback" not in stderr
    found: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    assert (found["type"], found["status"], found["exit_code"], process.returncode) == ("result", "cancelled", 130, 130)
    found["before"] = json.loads(["{}", *stdout.splitlines()][-2])
    assert "go on: swarm resume" in stderr
    assert json.loads((Path(found["run_dir"]) / "result.json").read_text())["status"] == "cancelled"
    return found


def test_ctrl_c_merges_and_tests_what_is_there_and_a_second_one_ends_that(runs: Runs) -> None:
    runs.script("", [WAITS, DONE])
    gate = f"if grep -q 2 a.py; then touch {runs.folder}/tested; sleep 1000; fi"
    process = runs.start("--json", "--test", gate)
    started(process, lambda event: event["type"] == "agent_end" and event["trajectory_id"] == "one")
    process.send_signal(signal.SIGINT)
    started(process, lambda event: event["type"] == "gate_start")
    process.send_signal(signal.SIGINT)
    found = envelope(process)
    assert found["gate"] is None
    kept = (Path(found["run_dir"]) / "events.jsonl").read_text().splitlines()
    assert found["before"] == json.loads(kept[-1])  # what happened after the signal was told, too
    assert found["before"]["type"] == "run_end"
    assert "+value = 2" in Path(found["patch_path"]).read_text()
    assert found["coverage"] == {"asked": 2, "useful": 1, "missing": 1}
    assert runs.nothing_left()


def test_sigterm_ends_it_in_order(runs: Runs) -> None:
    process = runs.start("--json", "--test", "sleep 1000 & sleep 1000")
    started(process, lambda event: event["type"] == "gate_start")
    process.send_signal(signal.SIGTERM)
    envelope(process)
    assert runs.nothing_left()


def test_what_hangs_is_ended_all_the_same(runs: Runs) -> None:
    hangs = (
        "import sys, time, swarm.cli.interrupts as i, swarm.cli.main as m, swarm.run as r\n"
        "i.GRACE, i.CLEARS = 0.0, 300.0\n"
        "r.keep = lambda *_: time.sleep(1000)\n"  # the event loop itself
        "sys.exit(m.main(sys.argv[1:]))"
    )
    words, env = runs.order("--json", "--test", "sleep 1000 & sleep 1000")
    process = subprocess.Popen([sys.executable, "-c", hangs, *words], cwd=runs.repo, env=env, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    started(process, lambda event: event["type"] == "gate_start")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    envelope(process)
    assert runs.nothing_left()


def test_ctrl_c_in_the_editor_of_whoever_sends_it_to_the_run(runs: Runs, tmp_path: Path) -> None:
    env = editor(tmp_path, "echo OPEN; stty -echo; exec sleep 1000")
    with runs.at_terminal("--no-test", **env) as terminal:
        terminal.until("[y/N]")
        terminal.type("e\n")
        terminal.until("OPEN")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
    assert "swarm resume" in terminal.seen
    assert runs.nothing_left()


def test_a_closed_terminal_ends_it_in_order(runs: Runs) -> None:
    with runs.at_terminal("--no-test") as terminal:
        terminal.until("[y/N]")
        os.close(terminal.fd)
        terminal.process.send_signal(signal.SIGHUP)  # as the kernel sends it to whom the terminal belongs to
        assert terminal.process.wait(timeout=300) == 130
    (folder,) = (runs.kept / "runs").iterdir()
    assert json.loads((folder / "result.json").read_text())["status"] == "cancelled"
    assert runs.nothing_left()
