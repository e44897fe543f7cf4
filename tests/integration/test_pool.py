"""Places that are opened ahead, over real copies and real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from swarm.errors import SandboxError
from swarm.places.pool import open_pool
from swarm.places.shown import Showing, Shown
from swarm.places.workshop import Workshop
from swarm.protocols import Sandbox
from swarm.sandboxes.copies.layers import Layers
from swarm.sandboxes.git.workspace import snapshot
from swarm.sandboxes.leases.mounts import mounts_below
from swarm.sandboxes.process import ProcessBackend
from swarm.types import SandboxRequest
from tests.integration.checkouts import make_repository

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]


class Breaking(ProcessBackend):
    """A backend whose sandboxes fail to open the first few times."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.opened = 0
        self.living = 0

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[Sandbox]:  # type: ignore[override]  # a wider one
        self.opened += 1
        if self.opened <= self.failures:
            raise SandboxError("it does not start")
        async with super().open(request) as sandbox:
            self.living += 1
            try:
                yield sandbox
            finally:
                self.living -= 1


@pytest.fixture
async def workshop(tmp_path: Path) -> Workshop:
    tree = await snapshot(make_repository(tmp_path / "repo", {"file": b"one\n"}), tmp_path / "store")
    lease = tmp_path / "lease"
    lease.mkdir()
    copies = Layers(lease, tree)
    return Workshop("run", lease, Breaking(0), copies, tree, "/workspace", Showing.of(Shown()))


def breaking(workshop: Workshop, failures: int) -> tuple[Workshop, Breaking]:
    backend = Breaking(failures)
    return replace(workshop, backend=backend), backend


async def test_takers_find_places_ready_and_no_more_are_opened_than_are_expected(workshop: Workshop) -> None:
    workshop, backend = breaking(workshop, 0)
    assert workshop.repository is not None
    base = workshop.repository.base
    async with open_pool(workshop, 2) as pool:
        pool.expect(3, base)
        await pool.filled()
        assert pool.statistics() == (2, 0, 0)
        for taken in range(1, 4):
            async with pool.take("agent", base) as place:
                assert (await place.sandbox.exec("cat file")).stdout == b"one\n"
                assert pool.statistics().in_use == 1
            await pool.filled()
            assert pool.statistics().found_ready == taken
        assert backend.opened == 3
        async with pool.take("one more", base) as place:
            await place.sandbox.exec("true")
    assert (backend.opened, backend.living) == (4, 0)
    assert not list(workshop.lease.glob("ws-*")) and not mounts_below(workshop.lease)


async def test_a_place_is_brought_to_the_commit_that_is_wanted(workshop: Workshop) -> None:
    repository = workshop.repository
    assert repository is not None
    async with open_pool(workshop, 1) as pool:
        pool.expect(2, repository.base)
        async with pool.take("first", repository.base) as place:
            await place.sandbox.exec("echo two > file; echo new > other")
            await place.close_sandbox()
            work = (await repository.capture(place.copy.tree, repository.base, author="first", message="work")).commit
        assert work is not None
        await pool.filled()
        async with pool.take("second", work) as place:
            assert (await place.sandbox.exec("cat file other")).stdout == b"two\nnew\n"
            await place.close_sandbox()
            assert (await repository.capture(place.copy.tree, work, author="second", message="none")).commit is None
        assert pool.statistics().found_ready == 1


async def test_a_place_with_files_and_one_without_do_not_stand_in_for_each_other(workshop: Workshop) -> None:
    assert workshop.repository is not None
    base = workshop.repository.base
    for expected, wanted, files in ((base, None, b""), (None, base, b"file\n")):
        async with open_pool(workshop, 2) as pool:
            pool.expect(2, expected)
            await pool.filled()
            async with pool.take("agent", wanted) as place:
                assert (await place.sandbox.exec("ls")).stdout == files


async def test_a_place_that_failed_ahead_is_nobodys_failure(workshop: Workshop) -> None:
    workshop, backend = breaking(workshop, 2)
    async with open_pool(workshop, 2) as pool:
        pool.expect(2, None)
        await pool.filled()
        async with pool.take("agent", None) as place:
            assert (await place.sandbox.exec("echo here")).stdout == b"here\n"
        assert backend.opened >= 3


async def test_what_fails_for_the_taker_is_raised_as_it_is(workshop: Workshop) -> None:
    workshop, _ = breaking(workshop, 100)
    with pytest.raises(SandboxError, match="does not start"):
        async with open_pool(workshop, 2) as pool:
            pool.expect(3, None)
            async with pool.take("agent", None):
                pass


async def test_a_cancelled_taker_leaves_nothing(workshop: Workshop) -> None:
    workshop, backend = breaking(workshop, 0)
    async with open_pool(workshop, 4) as pool:
        async with anyio.create_task_group() as group:

            async def work() -> None:
                async with pool.take("agent", None) as place:
                    await place.sandbox.exec("sleep 600")

            for _ in range(6):
                group.start_soon(work)
            with anyio.fail_after(300):
                while backend.living < 3:
                    await anyio.to_thread.run_sync(lambda: None)
            group.cancel_scope.cancel()
        assert pool.statistics().in_use == 0
    assert backend.living == 0
    assert not list(workshop.lease.glob("ws-*")) and not mounts_below(workshop.lease)


async def test_what_sandboxes_show_is_looked_for_once_while_the_task_is_planned(workshop: Workshop) -> None:
    asked, known = anyio.Event(), anyio.Event()
    times: list[None] = []

    async def find() -> Shown:
        times.append(None)
        asked.set()
        await known.wait()
        return Shown({"WORD": "seen"})

    said: list[bytes] = []
    with anyio.fail_after(300):
        async with open_pool(replace(workshop, shown=Showing(find)), 2) as pool:
            await asked.wait()  # by nobody's sandbox
            async with anyio.create_task_group() as group:

                async def work(name: str) -> None:
                    async with pool.take(name, None) as place:
                        said.append((await place.sandbox.exec("echo $WORD")).stdout)

                group.start_soon(work, "a")
                group.start_soon(work, "b")
                known.set()
    assert (said, len(times)) == ([b"seen\n"] * 2, 1)


async def test_what_cannot_be_shown_fails_the_one_who_needs_it(workshop: Workshop) -> None:
    async def find() -> Shown:
        raise SandboxError("no Python answers")

    async with open_pool(replace(workshop, shown=Showing(find)), 2) as pool:
        with pytest.raises(SandboxError, match="no Python answers"):
            async with pool.take("agent", None):
                pass
