"""A place that is opened when a tool first needs it: an agent without files of its own may never need one, and then
costs no sandbox, no folder and no process."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType

import anyio

from swarm.errors import SandboxError
from swarm.places.pool import Place, Pool
from swarm.protocols import Pausable, Sandbox, WorkingCopy
from swarm.types import ExecResult


class LateSandbox:
    """`swarm.protocols.Sandbox` and `Pausable` of a place that is taken from the pool at the first use of it. What that
    takes is made then: thousands may wait for a model and never need it."""

    __slots__ = ("_opening", "_owner", "_pool", "_taken", "place")

    def __init__(self, pool: Pool, owner: str) -> None:
        self._pool = pool
        self._owner = owner
        self._opening: anyio.Lock | None = None
        self._taken: AsyncExitStack | None = None
        self.place: Place | None = None

    def __repr__(self) -> str:
        return f"<LateSandbox of {self._owner}: {self.id or 'not opened'}>"

    @property
    def id(self) -> str:
        """Empty as long as it is not open."""
        return self.place.sandbox.id if self.place is not None else ""

    @property
    def workdir(self) -> str:
        return self._pool.workshop.workdir

    async def exec(
        self,
        command: str,
        *,
        timeout: float = 120.0,
        cwd: str | None = None,
        stdin: bytes = b"",
        max_output: int = 1 << 20,
    ) -> ExecResult:
        """See `swarm.protocols.Sandbox.exec`."""
        sandbox = await self._opened()
        return await sandbox.exec(command, timeout=timeout, cwd=cwd, stdin=stdin, max_output=max_output)

    async def read_file(self, path: str, *, most: int | None = None) -> bytes:
        """See `swarm.protocols.Sandbox.read_file`."""
        return await (await self._opened()).read_file(path, most=most)

    async def list_folder(self, path: str = ".") -> list[str]:
        """See `swarm.protocols.Sandbox.list_folder`."""
        return await (await self._opened()).list_folder(path)

    async def write_file(self, path: str, data: bytes) -> None:
        """See `swarm.protocols.Sandbox.write_file`."""
        await (await self._opened()).write_file(path, data)

    async def pause(self) -> None:
        """See `swarm.protocols.Pausable.pause`; nothing where nothing is open, or it cannot stand still."""
        if self.place is not None and isinstance(self.place.sandbox, Pausable):
            await self.place.sandbox.pause()

    async def resume(self) -> None:
        """See `swarm.protocols.Pausable.resume`."""
        if self.place is not None and isinstance(self.place.sandbox, Pausable):
            await self.place.sandbox.resume()

    async def _opened(self) -> Sandbox:
        if self.place is None:
            self._opening = self._opening or anyio.Lock()
            self._taken = self._taken or AsyncExitStack()
            async with self._opening:
                if self.place is None:
                    try:
                        self.place = await self._taken.enter_async_context(self._pool.take(self._owner, None))
                    except OSError as error:  # else a tool would take it for its own
                        raise SandboxError(f"no sandbox can be opened: {error}") from error
        return self.place.sandbox

    async def give_back(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the place back, where there is one."""
        if self._taken is not None:
            await self._taken.__aexit__(kind, error, trace)


class LatePlace(AbstractAsyncContextManager["LatePlace"]):
    """A place whose sandbox opens late, and is given back at the end of the block. `copy` is None as long as it has
    not."""

    __slots__ = ("sandbox",)

    def __init__(self, sandbox: LateSandbox) -> None:
        self.sandbox = sandbox

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.sandbox.give_back(kind, error, trace)

    @property
    def copy(self) -> WorkingCopy | None:
        return self.sandbox.place.copy if self.sandbox.place is not None else None

    async def close_sandbox(self) -> None:
        """See `swarm.places.pool.Place.close_sandbox`."""
        if self.sandbox.place is not None:
            await self.sandbox.place.close_sandbox()


def open_place(
    pool: Pool, owner: str, commit: str | None, *, now: bool = False
) -> AbstractAsyncContextManager[Place | LatePlace]:
    """A place for one attempt, at once with the tree of `commit`, late without one unless it is wanted `now`; given
    back at the end of the block.

    Raises on entering:
        SandboxError: as `Pool.take`; where it opens late its first use raises this.
    """
    if commit is not None or now:
        return pool.take(owner, commit)
    return LatePlace(LateSandbox(pool, owner))
