"""`swarm watch`: a run of another process, to its end."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from swarm.events import Event, RunEnded
from swarm.result import RunResult
from swarm.types import RunStatus
from tests.unit.stories import stamped, told

ENVELOPE = RunResult(
    run_id="newest", status=RunStatus.PARTIAL, exit_code=1, answer="Half of it.", run_dir="/runs/newest"
)


def lines(run_id: str) -> list[str]:
    events: list[Event] = stamped(told(2))
    for event in events:
        event.run_id = run_id
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    ended.result = json.loads(ENVELOPE.model_dump_json())
    return [event.model_dump_json() + "\n" for event in events]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SWARM_HOME": str(tmp_path), "PYTHONPATH": root}


def keep(home: Path, run_id: str, written: list[str]) -> Path:
    record = home / "runs" / run_id / "events.jsonl"
    record.parent.mkdir(parents=True)
    record.write_text("".join(written))
    return record


def watch(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "swarm", "watch", *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)


@contextmanager
def locked(journal: TextIO) -> Iterator[None]:
    """As whoever writes a journal holds it: else it would be taken for that of a run that died."""
    fcntl.flock(journal, fcntl.LOCK_EX)
    yield


def test_it_is_followed_to_its_end(tmp_path: Path, env: dict[str, str]) -> None:
    told = lines("newest")
    record = keep(tmp_path, "newest", told[:2])
    command = [sys.executable, "-m", "swarm", "watch", "new", "--exit-status"]
    with (
        record.open("a") as journal,
        locked(journal),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as watcher,
    ):
        assert watcher.stderr is not None
        assert watcher.stdout is not None
        first = watcher.stderr.readline()
        for text in told[2:]:
            journal.write(text)
            journal.flush()
        fcntl.flock(journal, fcntl.LOCK_UN)
        said, answer = watcher.stderr.read(), watcher.stdout.read()
    assert "run newest: plan, kimi" in first
    assert "run partial\nstatus: partial (exit code 1)\n" in said
    assert answer == "Half of it.\n"
    assert watcher.returncode == 1


def test_one_that_ended_as_events_and_what_is_new_to_us(tmp_path: Path, env: dict[str, str]) -> None:
    told = lines("newest")
    written = [*told[:3], '{"type": "novel", "v": 9}\n', *told[3:]]
    keep(tmp_path, "newest", written)
    done = watch(env, "--json")
    assert done.stdout == "".join(written)
    assert done.returncode == 0


def test_one_that_died_says_how_to_go_on(tmp_path: Path, env: dict[str, str]) -> None:
    keep(tmp_path, "dead", lines("dead")[:5])
    done = watch(env, "dead")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("swarm: the run crashed")
    assert "swarm resume dead" in done.stderr
