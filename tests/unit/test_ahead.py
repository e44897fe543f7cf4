"""What is done while a sandbox is proved: it waits for nobody, and nobody waits for it."""

from __future__ import annotations

import platform
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from swarm.config import RunConfig
from swarm.errors import SandboxError
from swarm.sandboxes import catalog, toolchain
from swarm.sandboxes.catalog import open_backend
from swarm.wiring import look_ahead

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize(
    ("image", "on_repository", "asked"), [("host", False, 1), ("host", True, 0), ("python:3.12", False, 0)]
)
async def test_what_sandboxes_show_is_asked_ahead_where_it_is_known_what_to_ask(
    image: str, on_repository: bool, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    async def of_repository(repo: Path | None) -> toolchain.Found:
        calls.append(repo)
        raise OSError("no processes left")

    monkeypatch.setattr(toolchain, "of_repository", of_repository)
    monkeypatch.setattr(platform, "_platform_cache", {})
    await look_ahead(RunConfig(image=image, sandbox="docker"), on_repository)
    assert platform._platform_cache, "what clients tell of this machine"  # type: ignore[attr-defined]
    assert calls == [None] * asked, "and what is wrong with it is told to whoever needs it"
