"""Whole runs whose agents leave what is hard to record: the work of the others and the rest of theirs is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from swarm import RunConfig, RunStatus, Swarm
from swarm.config import SandboxName
from swarm.events import AgentEnded, Event
from swarm.sandboxes.copies import staging
from tests.integration.conftest import Files, Script, plan, submit, subtask, use

pytestmark = pytest.mark.anyio
_DEEP = (
    "d=$(printf d%099d 0); p=$d; i=1; while [ $i -lt 20 ]; do p=$p/$d; i=$((i+1)); done; mkdir -p $p; "
    "i=1; while [ $i -lt 3 ]; do mkdir -p n$i/$p && mv $d n$i/$p/ && mv n$i/$d $d || exit 1; i=$((i+1)); done; rm -r n?"
)
_WORK = (
    f"{_DEEP}; : > b; truncate -s 1500M large; mkfifo .gitignore; chmod 000 a.txt; "
    'echo "*.txt working-tree-encoding=UTF-16" > .gitattributes; printf abc > c.txt; echo hi > new'
)


@pytest.fixture(autouse=True)
def own_home(deep_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(deep_path / "home"))


@pytest.fixture
def repo(make_repo: Callable[[Files], Path]) -> Path:
    return make_repo({"a.txt": "a\n"})


@pytest.mark.parametrize("name", ["docker", "bubblewrap", "process"])
async def test_what_is_hard_to_record_is_left_out_by_name(
    name: SandboxName, script: Script, repo: Path, request: pytest.FixtureRequest
) -> None:
    if name != "process":
        request.getfixturevalue(f"{name}_box")
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command=_WORK), submit())
    seen: list[Event] = []
    async with Swarm(config=RunConfig(model=script.model, sandbox=name)) as swarm:
        result = await swarm.run("x", repo=repo, on_event=seen.append)
    assert (result.status, result.exit_code) == (RunStatus.COMPLETED, 0)
    assert result.patch_path is not None
    patch = Path(result.patch_path).read_bytes()
    for part in (b"b/new", b"b/c.txt", b"b/.gitattributes"):
        assert part in patch
    assert b"b/large" not in patch
    notices = [event.message for event in seen if event.type == "notice"]
    assert any("large (1500 MiB)" in message and ".gitignore" in message for message in notices)
    ended = [event for event in seen if isinstance(event, AgentEnded) and event.trajectory_id != "planner"]
    assert any("left out of the changes: large" in event.final_output for event in ended)


async def test_what_cannot_be_recorded_is_the_works_failure(
    script: Script, repo: Path, box: SandboxName, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repo / ".gitattributes").write_bytes(b"*.t working-tree-encoding=UTF-16\n")
    monkeypatch.setattr(staging, "_refused", lambda *_: [])
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command="printf abc > bad.t"), submit())
    seen: list[Event] = []
    async with Swarm(config=RunConfig(model=script.model, sandbox=box, max_agents=1)) as swarm:
        result = await swarm.run("x", repo=repo, on_event=seen.append)
    assert (result.status, result.exit_code) == (RunStatus.FAILED, 1)
    assert dict(result.outcomes) == {"failed": 1}
    assert any(isinstance(event, AgentEnded) and "BOM is required" in event.final_output for event in seen)
