"""AGENTS.md: what of it reaches whom."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from swarm.config import RunConfig
from swarm.events import Event, Notice
from swarm.parts import Parts
from swarm.prompts.guidance import LONGEST, LONGEST_NESTED, Guidance, read_guidance
from swarm.prompts.messages import subagent_request
from swarm.runtime import Swarm
from swarm.sandboxes.git.workspace import snapshot
from swarm.testing import FakeBackend, ScriptedModel
from swarm.types import SubTask

FILES = {
    "AGENTS.md": "Use tabs.\r\n```\ncode\n```\n",
    "CLAUDE.md": "Never read.",
    "web/AGENTS.md": "Web rules.",
    "web/ui/AGENTS.md": "UI rules.",
    "lib/AGENTS.md": "Lib rules.",
    "lib/empty/AGENTS.md": " \n",
    "notes/OLD_AGENTS.md": "Not one.",
}
LINKS = {"lib/deep/AGENTS.md": "../../web/AGENTS.md", "away/AGENTS.md": "/etc/hostname", "up/AGENTS.md": "../../x"}


def request(guidance: Guidance, *files: str) -> str:
    return subagent_request("t", None, SubTask(id="a", title="t", instructions="i", files=files), [], guidance)


def test_the_top_is_shared_and_the_nearest_comes_last() -> None:
    guidance = Guidance({"": "Top.", "lib": "Lib rules.", "web": "Web rules.", "web/ui": "UI rules."})
    assert "Top." in guidance.shared
    assert "`lib/`, `web/`, `web/ui/`" in guidance.shared
    assert "rules" not in guidance.shared
    own = request(guidance, "web/ui/a.ts", "web/b.ts")
    assert own.index("Top.") < own.index("# Your sub-task") < own.index("Web rules.") < own.index("UI rules.")
    assert "Lib rules." not in own
    assert "Lib rules." in request(guidance, "lib")
    assert "Web rules." in request(guidance, "web/**/*.ts")
    one, other = request(guidance, "web/a"), request(guidance, "lib/a")
    assert one.partition("# Your sub-task")[0] == other.partition("# Your sub-task")[0]
    assert request(Guidance(), "web/a") == request(Guidance({"lib": "x"}), "web/a").replace(
        Guidance({"lib": "x"}).shared + "\n\n", ""
    )


def test_what_is_too_long_is_cut_and_says_so() -> None:
    nested = {f"d{n}": "y" * 20_000 for n in range(9)}
    guidance = Guidance({"": "x" * (LONGEST + 7), **nested})
    assert "[... 7 characters of AGENTS.md left out: read the file ...]" in guidance.shared
    told = guidance.nearest(f"d{n}/a" for n in range(9))
    assert told.count("y" * LONGEST_NESTED) == 2
    assert told.count("holds for") > 5
    assert len(told) < 2 * LONGEST
    assert guidance.cut[:2] == ["AGENTS.md", "d0/AGENTS.md"]


def committed(repo: Path) -> Path:
    """A repository with `FILES`."""
    for name, text in FILES.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_bytes(text.encode())
    for name, target in LINKS.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).symlink_to(target)
    for args in (["init", "-q"], ["add", "."], ["-c", "user.name=T", "-c", "user.email=t@e", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(repo), *args], check=True)
    return repo


@pytest.mark.anyio
async def test_a_link_is_followed_to_a_file_of_the_same_tree(tmp_path: Path) -> None:
    repo = committed(tmp_path / "repo")
    (repo / "AGENTS.md").unlink()
    (repo / "AGENTS.md").symlink_to("./CLAUDE.md")
    guidance = await read_guidance(await snapshot(repo, tmp_path / "store"))
    assert guidance.texts[""] == "Never read."
    assert guidance.texts["lib/deep"] == "Web rules."
    assert guidance.unfollowed == ["away/AGENTS.md", "up/AGENTS.md"]


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["single", "plan", "parl"])
async def test_it_reaches_planner_and_sub_agents(tmp_path: Path, mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    repo = committed(tmp_path / "repo")
    (repo / "AGENTS.md").write_text("Uncommitted. " + "x" * LONGEST)
    one = {"id": "one", "title": "t", "instructions": "do it", "files": ["web/ui/a.ts"]}
    first = {"plan": {"rationale": "r", "subtasks": [one]}}.get(mode, "done")
    model, seen = ScriptedModel([first, "done", "done"]), list[Event]()
    async with Swarm(config=RunConfig(mode=mode), parts=Parts(model, backend=FakeBackend())) as swarm:
        await swarm.run("x", repo=repo, on_event=seen.append)
    told = [request.messages[1]["content"] for request in model.requests]
    assert all("Uncommitted." in text and "Never read" not in text and "Not one" not in text for text in told)
    assert "`lib/`, `web/`, `lib/deep/`, `web/ui/`" in told[0]
    assert "UI rules." not in told[0]
    if mode == "plan":
        assert told[1].index("Web rules.") < told[1].index("UI rules.")
    notices = [event.message for event in seen if isinstance(event, Notice)]
    assert any("too long" in message for message in notices)
    assert "links that do not lead to a file of the repository: away/AGENTS.md, up/AGENTS.md" in notices
    model = ScriptedModel([first, "done", "done"])
    config = RunConfig(mode=mode, agents_md=False)
    async with Swarm(config=config, parts=Parts(model, backend=FakeBackend())) as swarm:
        await swarm.run("x", repo=repo)
    assert all("Uncommitted." not in request.messages[1]["content"] for request in model.requests)
