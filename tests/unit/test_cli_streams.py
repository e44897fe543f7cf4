"""The command line where standard streams are closed or full, and where it is interrupted early or twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from swarm.cli.own_end import own_end


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "SWARM_HOME": str(tmp_path / "kept")}


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("args", "code"), [("runs", 0), ("runs --json", 0), ("show nothing", 2), ("--version", 0)])
def test_streams_that_are_closed_or_full(env: dict[str, str], closed: str, args: str, code: int) -> None:
    done = shell(f"{args} {closed}", env)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) <= 1, done.stderr


def test_output_that_cannot_be_written(env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "kept/runs/odd"
    folder.mkdir(parents=True)
    done = shell("runs --json >/dev/full", env)
    assert done.returncode == 3
    assert done.stderr.startswith("swarm: No space left on device; free some space") and done.stderr.count("\n") == 1


def test_characters_that_the_locale_lacks(env: dict[str, str], tmp_path: Path) -> None:
    repo = tmp_path / "\u6f22"
    subprocess.run(["git", "init", "-q", repo], check=True)
    done = shell(f"init --repo '{repo}'", env | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "test: none\n")
    assert "/\\u6f22/swarm.toml\n" in done.stdout


def shell(command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -m swarm {command}', sys.executable],
        env=env | {"PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("module", "entry"),
    [
        ("swarm.cli.main", "import swarm.__main__"),
        ("swarm.cli.stdio", "import swarm.__main__"),
        ("argparse", "from swarm.cli.main import main; sys.exit(main())"),
        ("swarm.cli.run", "from swarm.cli.main import main; sys.exit(main())"),
    ],
)
def test_interrupted_while_it_starts(module: str, entry: str) -> None:
    code = f"""
import sys
class Interrupted:
    def find_spec(self, name, *rest):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
{entry}
"""
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False,
                          env={"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    assert done.returncode == 130
    assert len(done.stderr.splitlines()) <= 1, done.stderr


STUCK = """
import sys, anyio, swarm.cli.interrupts, swarm.runtime
from swarm.events import RunStarted
swarm.cli.interrupts.ORDERLY = 0.1
class Stuck:
    def __init__(self, config): self.config = config
    async def __aenter__(self): return self
    async def __aexit__(self, *error): pass
    async def run(self, task, on_event, **more):
        on_event(RunStarted(task=task, task_sha256="", mode="plan", swarm_version="0", config={}, config_sha256="",
                            models={}, run_id="stuck"))
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()
swarm.runtime.Swarm = Stuck
from swarm.cli.main import main
sys.exit(main(["run", "x", "--no-repo"]))
"""


def test_a_second_signal_ends_a_run_that_is_stuck(env: dict[str, str]) -> None:
    process = subprocess.Popen([sys.executable, "-c", STUCK], stderr=subprocess.PIPE, text=True,
                               env=env | {"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    with process:
        assert process.stderr is not None
        assert "run stuck" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        while "once more to stop at once" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    assert process.returncode == 130
    kept = f"the record so far: {env['SWARM_HOME']}/runs/stuck; go on: swarm resume stuck"
    assert said.splitlines() == [f"swarm: stopped at once; {kept}"]


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_what_an_event_loop_does_to_what_it_waits_for_is_done_to_nobody_else(kind: str) -> None:
    ours, theirs = os.openpty() if kind == "terminal" else os.pipe()
    try:
        with own_end(theirs, os.O_WRONLY) as own:
            os.set_blocking(own, False)  # as uvloop does
            assert os.get_blocking(theirs)
    finally:
        os.close(ours)
        os.close(theirs)
