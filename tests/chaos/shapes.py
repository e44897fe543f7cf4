"""What the runs of the suite do: three modes, each with files that show when something was done twice, and what must
come of them. The model is a script, so that an undisturbed run is the same every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["plan", "parl", "single"]
Turn = dict[str, Any]

BASE = {"a.txt": "a\n", "src/keep.py": "KEEP = 1\n", ".gitignore": "*.log\n"}
"""The user's repository."""


def use(name: str, /, **arguments: Any) -> Turn:
    return {"tool_calls": [{"name": name, "arguments": arguments}]}


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of run. `stages`: the sub-tasks of each stage of the orchestrator; a planner is asked for a second stage
    because the gate fails on the first."""

    mode: Mode
    stages: tuple[int, ...]
    repo: bool
    gate: bool

    @property
    def names(self) -> list[str]:
        """The trajectories of the sub-agents."""
        if self.mode == "single":
            return ["task"]
        first = 1 if self.mode == "parl" else 0
        return [f"{'worker-' if self.mode == 'parl' else 't'}{n + first}" for n in range(sum(self.stages))]

    @property
    def options(self) -> list[str]:
        last = f"test -f {self.names[-1]}.txt" if self.mode == "plan" and len(self.stages) > 1 else "true"
        gate = ["--test", f"test -f a.txt && {last}"] if self.gate else []
        return ["--mode", self.mode, *gate]

    def rules(self) -> list[dict[str, Any]]:
        """The rules of the script."""
        if self.mode == "single":
            steps = [use("bash", command=f"echo {n} >> file.txt") for n in range(4)]
            return [{"role": "any", "turns": [*steps, use("submit", status="done", summary="made the file")]}]
        rules: list[dict[str, Any]] = [{"role": "planner", "turns": self._orchestrator()}]
        for name in self.names:
            work = [
                use("bash", command=f"echo one >> {name}.txt"),
                use("write", path=f"{name}/note.md", content=f"notes of {name}\n"),
                use("bash", command=f"echo two >> {name}.txt; cat {name}.txt"),
                use("submit", status="done", summary=f"made {name}"),
            ]
            rules.append({"role": "subagent", "match": f"Sub-task {name}:", "turns": work})
        return [
            *rules,
            {"role": "aggregator", "turns": [{"content": f"all is made\n\nSources: {', '.join(self.names)}"}]},
        ]

    def _orchestrator(self) -> list[Turn]:
        if self.mode == "plan":
            return [
                {"json": {"rationale": "r", "subtasks": [self._subtask(name) for name in stage], "dropped": []}}
                for stage in (*self._by_stage(), ())
            ]
        kind = use("create_subagent", name="worker", system_prompt="You make files.")["tool_calls"]
        turns: list[Turn] = [{"tool_calls": [*kind, *use("bash", command="echo own >> own.txt")["tool_calls"]]}]
        for stage in self._by_stage():
            calls = [use("assign_task", agent="worker", prompt=f"make {name}")["tool_calls"][0] for name in stage]
            turns += [{"tool_calls": calls}, use("bash", command="echo more >> own.txt")]
        return [*turns, {"content": "all files are made"}]

    def _subtask(self, name: str) -> dict[str, Any]:
        needs = [self.names[0]] if name == self._by_stage()[0][-1] != self.names[0] else []
        return {"id": name, "title": f"make {name}", "instructions": f"make {name}", "depends_on": needs}

    def _by_stage(self) -> list[list[str]]:
        names, stages = iter(self.names), []
        for count in self.stages:
            stages.append([next(names) for _ in range(count)])
        return stages

    @property
    def answer(self) -> str:
        """What it must answer."""
        if self.mode == "parl":
            return "all files are made"
        if self.mode == "single":
            return "- task, the whole task: completed. made the file" if self.repo else "made the file"
        if not self.repo:
            return "all is made"
        return "\n".join(f"- {name}, make {name}: completed. made {name}" for name in self.names)

    def files(self) -> dict[str, str]:
        """What the patch must bring, by file."""
        if not self.repo:
            return {}
        if self.mode == "single":
            return {"file.txt": "0\n1\n2\n3\n"}
        made: dict[str, str] = {}
        for name in self.names:
            made |= {f"{name}.txt": "one\ntwo\n", f"{name}/note.md": f"notes of {name}\n"}
        if self.mode == "parl":
            made["own.txt"] = "own\n" + "more\n" * len(self.stages)
        return made


SHAPES: Sequence[Shape] = (
    Shape("plan", (3,), repo=True, gate=True),
    Shape("plan", (2, 1), repo=True, gate=True),
    Shape("plan", (4,), repo=True, gate=False),
    Shape("plan", (3,), repo=False, gate=False),
    Shape("parl", (2, 1), repo=True, gate=True),
    Shape("parl", (3,), repo=False, gate=False),
    Shape("single", (1,), repo=True, gate=True),
    Shape("single", (1,), repo=False, gate=False),
)


def brought(patch: str) -> Mapping[str, str]:
    """The new files of a patch, by name."""
    files: dict[str, str] = {}
    name = ""
    for line in patch.splitlines():
        if line.startswith("+++ "):
            name = line.removeprefix("+++ ").removeprefix("b/")
            files[name] = ""
        elif line.startswith("+") and name:
            files[name] += f"{line[1:]}\n"
        elif line.startswith("diff --git "):
            name = ""
        elif line.startswith(("-", " ")) and not line.startswith("--- ") and name:
            files[name] += f"!{line}\n"
    return files
