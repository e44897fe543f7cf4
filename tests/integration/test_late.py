"""Places that open when a tool first needs them, over real copies and real processes."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from swarm import Swarm
from swarm.agents.late import open_place
from swarm.calls import ModelRequest
from swarm.config import RunConfig
from swarm.errors import SandboxError
from swarm.parts import Parts
from swarm.places.pool import open_pool
from swarm.places.workshop import Workshop
from swarm.testing import FakeBackend, ScriptedModel, Turn, tool_call
from tests.integration.test_pool import breaking, workshop

__all__ = ["workshop"]  # a fixture

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]


async def test_nothing_is_opened_before_its_first_use_and_one_place_serves_all_uses(workshop: Workshop) -> None:
    workshop, backend = breaking(workshop, 0)
    async with open_pool(workshop, 1) as pool:
        async with open_place(pool, "idle", None) as place:
            await place.close_sandbox()
            assert (place.sandbox.id, place.copy, backend.opened) == ("", None, 0)
        async with open_place(pool, "busy", None) as place:
            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(place.sandbox.write_file, f"file{number}", b"here")
            assert (await place.sandbox.exec("ls")).stdout == b"file0\nfile1\nfile2\n"
            assert (backend.opened, backend.living) == (1, 1) and place.sandbox.id
            await place.close_sandbox()
            assert backend.living == 0 and place.copy is not None and (place.copy.tree / "file2").exists()
    assert not list(workshop.lease.glob("ws-*"))


async def test_a_place_with_files_is_there_at_once(workshop: Workshop) -> None:
    assert workshop.repository is not None
    async with (
        open_pool(workshop, 1) as pool,
        open_place(pool, "agent", workshop.repository.base) as place,
    ):
        assert place.sandbox.id and place.copy is not None and (place.copy.tree / "file").exists()


async def test_what_cannot_be_opened_fails_where_it_is_used(workshop: Workshop) -> None:
    workshop, _ = breaking(workshop, 1)
    async with open_pool(workshop, 1) as pool, open_place(pool, "agent", None) as place:
        with pytest.raises(SandboxError, match="does not start"):
            await place.sandbox.exec("true")
        assert (await place.sandbox.exec("echo again")).stdout == b"again\n"


async def test_places_are_made_ready_for_takers_who_may_not_come_when_the_first_does(workshop: Workshop) -> None:
    workshop, backend = breaking(workshop, 0)
    async with open_pool(workshop, 8) as pool:
        pool.expect(9, None, sure=False)
        await pool.filled()
        assert backend.opened == 0
        async with open_place(pool, "agent", None) as place:
            await place.sandbox.exec("true")
            await pool.filled()
            assert pool.statistics() == (8, 1, 0)


async def test_a_run_without_a_repository_opens_a_sandbox_for_whoever_uses_one() -> None:
    subtasks = [{"id": name, "title": name, "instructions": f"be {name}"} for name in ("thinker", "doer", "writer")]
    backend = FakeBackend()

    def answer(request: ModelRequest) -> Turn:
        if request.response_format is not None:
            return {"rationale": "", "subtasks": subtasks}
        work = str(request.messages[1]["content"]) if request.tools else ""
        if "be doer" in work and len(request.messages) == 2:
            return tool_call("bash", command="true")
        return "done"

    model = ScriptedModel(answer)
    config = RunConfig(concurrency=8)
    async with Swarm(config=config, parts=Parts(model=model, backend=backend)) as swarm:
        result = await swarm.run("do three things")
    assert result.outcomes == {"completed": 3}
    used = [owner for owner, sandbox in backend.opened.items() if sandbox.commands]
    assert len(used) == 1 and not backend.opened.keys() & {"thinker", "writer"}


async def test_runs_of_one_swarm_prove_its_sandbox_once_and_hold_a_lease_only_where_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    checked: list[Path] = []
    held: list[list[str]] = []

    class Counting(FakeBackend):
        async def check(self, lease: Path) -> None:
            assert (lease / "lock").is_file()
            checked.append(lease)

    def answer(request: ModelRequest) -> Turn:
        held.append([path.name.partition(".")[0] for path in (tmp_path / "leases").iterdir() if path.is_dir()])
        uses = "with a tool" in str(request.messages[1]["content"]) and len(request.messages) == 2
        return tool_call("bash", command="true") if uses else "done"

    parts = Parts(model=ScriptedModel(answer), backend=Counting())
    async with Swarm(config=RunConfig(mode="single"), parts=parts) as swarm:
        await swarm.run("think")
        used = await swarm.run("work with a tool")
    assert len(checked) == 1
    assert held == [[], [], [used.run_id]]
    assert [path for path in (tmp_path / "leases").iterdir() if path.is_dir()] == []
