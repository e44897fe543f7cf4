"""One real run in mode parl, whose log tests read, damage and export: an orchestrator that is to be trained on, and two
sub-agents. The first of its calls fails once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from swarm import Swarm
from swarm.config import Rollout, RunConfig
from swarm.journal.lines import sealed

TURNS: list[dict[str, Any]] = [
    {"tool_calls": [{"name": "create_subagent", "arguments": {"name": "w", "system_prompt": "you write"}}]},
    {
        "content": "two at once",
        "tool_calls": [
            {"name": "assign_task", "arguments": {"agent": "w", "prompt": "one"}},
            {"name": "assign_task", "arguments": {"agent": "w", "prompt": "two"}},
        ],
    },
    {"content": "both are done"},
]
AGENT: list[dict[str, Any]] = [
    {"tool_calls": [{"name": "bash", "arguments": {"command": "echo hi"}}]},
    {"tool_calls": [{"name": "submit", "arguments": {"status": "done", "summary": "wrote it well"}}]},
]


def make_run(
    home: Path, turns: list[dict[str, Any]] = TURNS, agent: list[dict[str, Any]] = AGENT, **config: Any
) -> Path:
    """Make the run, with these turns of the orchestrator and of each sub-agent; gives its folder."""
    script = home / "script.json"
    rules = [{"role": "planner", "turns": turns}, {"role": "subagent", "turns": agent}]
    script.write_text(json.dumps({"rules": rules, "faults": [{"position": 1, "kind": "error"}]}))
    settings = RunConfig(
        mode="parl",
        model=f"embedded:script:{script}",
        sandbox="process",
        rollout=Rollout(group_id="g1", index=2, lambda1=0.3, lambda2=0.2),
        **config,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWARM_HOME", str(home))
        result = Swarm(config=settings).run_sync("do two things", repo=None)
    assert result.status == "completed", result
    return Path(result.run_dir)


@dataclass
class Log:
    """The lines of a run's log as JSON, to be changed and written anew."""

    events: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Log:
        files = ((folder / f"{name}.jsonl").read_text().splitlines() for name in ("events", "tokens"))
        return cls(*([json.loads(line) for line in lines] for lines in files))

    def of(self, kind: str, **more: Any) -> list[dict[str, Any]]:
        """The events of a type that hold these values."""
        return [each for each in self.events if each["type"] == kind and more.items() <= each.items()]

    def write(self, folder: Path) -> Path:
        """Write it as if nothing had happened: numbered anew, and with the hashes that the end tells."""
        folder.mkdir(parents=True, exist_ok=True)
        for lines in (self.events, self.tokens):
            for seq, each in enumerate(lines):
                each["seq"] = seq
        tokens = b"".join(_line(each) for each in self.tokens)
        written = b""
        for each in self.events:
            if each["type"] == "run_end":
                each["log_sha256"] = hashlib.sha256(written).hexdigest()
                each["tokens_sha256"] = hashlib.sha256(tokens).hexdigest()
            written += _line(each)
        (folder / "events.jsonl").write_bytes(written)
        (folder / "tokens.jsonl").write_bytes(tokens)
        return folder


def _line(value: dict[str, Any]) -> bytes:
    if "crc" in value:
        value["crc"] = ""
    return sealed(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
