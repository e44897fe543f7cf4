"""The folder of a run that somebody else made, to be looked at and gone on with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from swarm.events import AgentEnded, AgentStarted, Event, PatchMerged, RunStarted, StageEnded, StageStarted
from swarm.types import Outcome, Plan, SubTask


class Store:
    """Its `repo.git`: two commits on a base."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "-q", "--bare", "-b", "base")
        self.base = self.commit("one\n")
        self.first = self.commit("one\ntwo\n", self.base)
        self.second = self.commit("one\ntwo\nthree\n", self.first)

    def git(self, *args: str, given: str = "") -> str:
        who = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        env = {**os.environ, **who, "GIT_DIR": str(self.folder), "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(["git", *args], input=given, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, text: str, *parents: str) -> str:
        blob = self.git("hash-object", "-w", "--stdin", given=text)
        tree = self.git("mktree", given=f"100644 blob {blob}\ta.txt\n")
        return self.git("commit-tree", tree, *(word for each in parents for word in ("-p", each)), "-m", "m")

    def run_programs(self, command: str) -> None:
        """Let its configuration name a program wherever git knows of one."""
        (self.folder / "info").mkdir(exist_ok=True)
        (self.folder / "info/attributes").write_text("* diff=evil filter=evil merge=evil\n")
        for key in (
            *("diff.evil.textconv", "diff.evil.command", "diff.external", "filter.evil.clean", "filter.evil.smudge"),
            *("merge.evil.driver", "core.fsmonitor", "core.pager", "core.sshCommand", "gpg.program"),
        ):
            self.git("config", key, command)
        self.git("config", "log.showSignature", "true")


def write_run(folder: Path, store: Store | None, base: str = "", **config: Any) -> None:
    """Its record: two sub-tasks, both merged, and a process that died before the end."""
    plan = Plan(subtasks=tuple(SubTask(id=name, title="t", instructions="i") for name in ("s1", "s2")))
    first, second = (store.first, store.second) if store is not None else ("", "")
    write_events(
        folder,
        [
            RunStarted(
                task="say hello",
                task_sha256="x",
                mode=str(config.get("mode", "plan")),
                swarm_version="1",
                config={"model": "m", **config},
                config_sha256="x",
                base_commit=base or (store.base if store is not None else ""),
            ),
            StageStarted(stage=1, plan=plan),
            *(started(name) for name in ("s1", "s2")),
            *(ended(name) for name in ("s1", "s2")),
            PatchMerged(stage=1, subtask_id="s1", merged=True, files=["a.txt"], commit=first),
            PatchMerged(stage=1, subtask_id="s2", merged=True, files=["a.txt"], commit=second),
            StageEnded(stage=1, main_steps=1, commit=second),
        ],
    )


def started(name: str) -> AgentStarted:
    return AgentStarted(trajectory_id=name, role="subagent", name=name, trainable=True)


def ended(name: str) -> AgentEnded:
    return AgentEnded(
        trajectory_id=name, outcome=Outcome.COMPLETED, stop="submit", terminated=True, truncated=False, final_output="x"
    )


def write_events(folder: Path, events: Iterable[Event], run_id: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "events.jsonl").open("w") as file:
        for number, event in enumerate(events):
            event.seq, event.run_id = number, run_id or folder.name
            file.write(event.model_dump_json() + "\n")


def with_key(env: Mapping[str, str], key: str) -> dict[str, str]:
    return {**env, "OPENAI_API_KEY": key}
