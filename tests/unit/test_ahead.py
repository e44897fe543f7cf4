"""What is done while a sandbox is proved: it waits for nobody, and nobody waits for it."""

from __future__ import annotations

import platform
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from swarm.errors import SandboxError
from swarm.loading import look_ahead
from swarm.sandboxes import catalog
from swarm.sandboxes.catalog import open_backend

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


async def test_what_clients_tell_of_this_machine_is_found_out_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "_platform_cache", {})
    await look_ahead()
    assert platform._platform_cache  # type: ignore[attr-defined]
