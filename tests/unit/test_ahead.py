"""What is done while a sandbox is proved: it waits for nobody, and nobody waits for it."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import pytest

from swarm import RunConfig, Swarm, loading
from swarm.errors import SandboxError
from swarm.loading import THE_RUN, load, look_ahead
from swarm.protocols import SandboxBackend
from swarm.sandboxes import catalog
from swarm.sandboxes.catalog import open_backend

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


class Slow:
    """A backend whose proof goes on until something else was done."""

    name = "process"

    def __init__(self, done: anyio.Event, trouble: str = "") -> None:
        self._done = done
        self._trouble = trouble

    async def check(self, lease: Path) -> None:
        await self._done.wait()
        if self._trouble:
            raise SandboxError(self._trouble)


@pytest.mark.parametrize("trouble", ["", "it is broken"])
async def test_something_else_is_done_while_a_sandbox_is_proved(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, cancelled = anyio.Event(), []

    async def made(stack: AsyncExitStack, name: str, image: str) -> Slow:
        return Slow(begun, trouble)

    async def beside() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    monkeypatch.setattr(catalog, "_make", made)
    with anyio.fail_after(10):
        if trouble:
            with pytest.raises(SandboxError, match=trouble):
                async with open_backend("process", tmp_path, beside=beside):
                    pass
        else:
            async with open_backend("process", tmp_path, beside=beside) as backend:
                assert isinstance(backend, Slow)
                assert cancelled, "it was over with the proof"
    assert cancelled


async def test_what_clients_tell_of_this_machine_is_found_out_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "_platform_cache", {})
    monkeypatch.setattr(loading, "THE_GRAPH", ("swarm.nothing",))
    await look_ahead()
    assert platform._platform_cache  # type: ignore[attr-defined]


def test_what_it_loads_is_all_there() -> None:
    """In a fresh process: a name that is no module's any more would be passed over in silence."""
    code = (
        "import sys, anyio; from swarm.loading import THE_GRAPH, THE_RUN, look_ahead; anyio.run(look_ahead); "
        "print(sorted({*THE_RUN, *THE_GRAPH} - sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_it_never_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever needs the module tells: the run, which has a log by then."""
    (tmp_path / "broken_ahead.py").write_text("raise TypeError('of another release')\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def broken() -> str:
        raise OSError("no processes left")

    monkeypatch.setattr(platform, "platform", broken)
    monkeypatch.setattr(loading, "THE_GRAPH", ("broken_ahead",))
    await look_ahead()
    assert "broken_ahead" not in sys.modules


@pytest.mark.parametrize("mode", ["single", "plan"])
async def test_no_more_than_a_first_call_needs_is_loaded_while_a_sandbox_is_proved(
    mode: Literal["single", "plan"], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[object] = []

    @asynccontextmanager
    async def opened(*words: object, beside: object, **more: object) -> AsyncIterator[SandboxBackend]:
        given.append(beside)
        if given:
            raise SandboxError("nothing to be had")
        yield  # type: ignore[misc]

    monkeypatch.setattr(catalog, "open_backend", opened)
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    async with Swarm(config=RunConfig(model="m", base_url="http://127.0.0.1:9/v1", mode=mode)) as swarm:
        with pytest.raises(SandboxError, match="nothing to be had"):
            await swarm.run("Say hello.")
    (beside,) = given
    assert isinstance(beside, partial)
    assert (beside.func, beside.args) == (load, THE_RUN)


async def test_others_have_half_of_the_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A module that is long in loading is followed by a pause as long."""
    (tmp_path / "long_ahead.py").write_text("import time\ntime.sleep(0.05)\n")
    (tmp_path / "short_ahead.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    await load("long_ahead", "short_ahead")
    first, second = pauses
    assert first < 0.05 <= second
