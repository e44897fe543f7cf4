"""The way into a sandbox that stays open: commands at a fraction of what starting a process from outside costs.

An agent inside (`swarm.sandboxes.channel.agent`) keeps a shell started ahead; here a command is given to it, watched,
and what it leaves is ended. A command ends with its main process. What it left running lives on until the sandbox is
closed if it let go of the command's streams, and is killed if it holds them. After the time limit all of it is killed:
its session, whoever holds its streams, and whoever has its mark in the environment. Only a process that changed its
session, its streams *and* its environment gets away, until the sandbox is closed.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread

from swarm.errors import SandboxError
from swarm.sandboxes.channel.agent import agent_script
from swarm.sandboxes.channel.feed import Feed
from swarm.sandboxes.channel.output import HeadTail
from swarm.sandboxes.channel.slot import Slot
from swarm.sandboxes.shell import enter
from swarm.types import ExecResult

TIMED_OUT = 124
_KILLED = 137
_NO_COMMAND = 126
_ANSWER_S = 10.0
"""Seconds in which the agent answers an order, and a shell is ready for its command."""

_BOUND = 15.0
"""Seconds that ending a command may take."""

_LETS_GO_S = 0.2
"""Seconds in which a background child that is still starting lets go of the command's streams, if it means to."""

_UNWATCHED_S = 0.1
_STARTS = 5
_PAUSE_S = 0.005
_ANSWER = re.compile(rb"([0-9]{1,15}) ([0-9]{1,9})")
FIRST = 2
"""Shells that are started at the beginning: one for the proof, and meanwhile one for the first command."""

_LONGEST = 64
"""Bytes of the agent's longest answer."""

How = Literal["all", "holders"]
Ender = Callable[[Slot, How], Awaitable[int]]
"""Kills once what is left of a command; gives how many processes it met."""

Clearer = Callable[[], Awaitable[None]]
"""Kills all that runs in a sandbox, but for its agent. The agent's own way would be the whole machine's processes."""

Watch = Callable[[], Awaitable[str]]
"""Runs beside a command; what it gives, if ever, is why the command must be ended, for its standard error."""


class Channel:
    """Commands in one sandbox, as many at a time as are wanted. `mark` is the sandbox's name; `open`: the agent came.

    `folder`: its control folder on the host, which must outlive the sandbox. `limits`: shell text that the agent runs
    first. `ender`: who ends processes where the agent cannot, because it is not the first process of a namespace,
    and `clearer` who then ends all of them.
    `watch` may end commands that use more than they may.
    """

    def __init__(
        self,
        folder: Path,
        mark: str,
        *,
        limits: str = "",
        ender: Ender | None = None,
        clearer: Clearer | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.folder = folder
        self.mark = mark
        self._ender = ender or self._end_inside
        self._clearer = clearer or (self._clear_inside if ender is None else None)
        self.open = False
        self._watch = watch
        self._made: list[Slot] = []
        self._ended: list[Slot] = []
        self._idle: list[Slot] = []
        self._running = 0
        self._paused = False
        self._asking = anyio.Lock()
        self._clearing = anyio.Lock(fast_acquire=True)  # else a command that just begins would be ended with the rest
        self._sequence = 0
        self._heard = b""
        folder.mkdir()
        folder.chmod(0o711)
        (folder / "agent").write_text(agent_script(limits))
        (folder / "agent").chmod(0o644)
        for name in ("orders", "answers"):
            os.mkfifo(folder / name)
        (folder / "answers").chmod(0o622)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._answers = os.open(folder / "answers", os.O_RDONLY | flags)
        self._reader = os.open(folder / "orders", os.O_RDONLY | flags)
        self._orders = os.open(folder / "orders", os.O_WRONLY | flags)
        (folder / "orders").chmod(0o444)  # read inside, never written

    async def greet(self) -> bool:
        """Wait until the agent is there; False where it ended instead."""
        while b"hello\n" not in self._heard:
            self._heard = self._heard[-_LONGEST:]  # an image may say anything before its agent does
            if not await self._hear():
                return False
        self._heard = b""
        self.open = True
        # Both sides have them open: no command may, to answer in the agent's place or take its orders away.
        for name in ("orders", "answers"):
            (self.folder / name).chmod(0)
        # With this end closed, an order to an agent that is gone is an error and not lost.
        os.close(self._reader)
        self._reader = -1
        self.prepare(FIRST)
        return True

    async def exec(
        self, script: str, *, folder: str, stdin: bytes | Feed, timeout: float, kept: tuple[HeadTail, HeadTail]
    ) -> ExecResult:
        """Run a script in a fresh shell, in a folder, to the end of its main process or to the time limit. `kept` takes
        what it writes.

        Raises:
            SandboxError: the sandbox is gone, paused, or cannot start or end a process any more.
        """
        if "\0" in script or "\0" in folder:
            return ExecResult(_NO_COMMAND, b"", b"a command cannot hold a NUL\n")
        if self._paused:
            raise SandboxError(f"{self.mark} is paused", remedy="resume it first")
        out, err = kept
        async with self._clearing:
            slot = await self._take()
            self._running += 1
        ended = False
        refused = ""
        try:
            started = time.monotonic()
            await slot.start(enter(folder), script, stdin, out, err)
            self._tidy()  # now, while there is nothing to do
            with anyio.move_on_after(timeout) as limit:
                refused = await self._follow(slot)
            seconds = time.monotonic() - started
            timed_out = limit.cancelled_caught
            if timed_out:
                await self._end(slot, "all")
                slot.drain()
            elif refused:
                await self._stop(slot, err, refused)
            elif slot.code is None:
                await self._ask("ping")  # dead with all of the sandbox, or killed by a command?
                await self._end(slot, "all")
                slot.drain()
            elif slot.held:
                with anyio.move_on_after(_LETS_GO_S) as patience:
                    await slot.released()
                if patience.cancelled_caught:
                    await self._end(slot, "holders")
            ended = True
        finally:
            self._running -= 1
            if not ended:
                with anyio.move_on_after(_BOUND, shield=True):
                    await self._end_quietly(slot)
            self._ended.append(slot)
        self.prepare()  # only now, so that the two do not compete for the processor
        code = TIMED_OUT if timed_out else _KILLED if refused or slot.code is None else slot.code
        return ExecResult(code, out.value(), err.value(), timed_out, out.truncated or err.truncated, seconds)

    async def _follow(self, slot: Slot) -> str:
        """Follow a command to its end, or until it must be ended; gives why."""
        if self._watch is None:
            await slot.follow()
            return ""
        with anyio.move_on_after(_UNWATCHED_S) as short:  # most commands end before it would be worth a look
            await slot.follow()
        if not short.cancelled_caught:
            return ""
        reason = ""
        async with anyio.create_task_group() as group:

            async def watch(seen: Watch) -> None:
                nonlocal reason
                reason = await seen()
                group.cancel_scope.cancel()

            group.start_soon(watch, self._watch)
            await slot.follow()
            reason = ""
            group.cancel_scope.cancel()
        return reason

    async def _stop(self, slot: Slot, err: HeadTail, reason: str) -> None:
        """End a command that went too far, and what other commands left in the background."""
        await self._end(slot, "all")
        async with self._clearing:
            if self._running == 1:
                await self._clear()
        slot.drain()
        err.add(reason.encode())

    def clear_by(self, clearer: Callable[[], None]) -> None:
        """From now on this ends all that runs inside; it may block."""
        self._clearer = partial(anyio.to_thread.run_sync, clearer)

    def refuse(self, paused: bool) -> None:
        """Whether commands are refused because the sandbox stands still."""
        self._paused = paused

    async def clear(self) -> None:
        """End what commands left in the background, while none runs; with one, that one's watch sees to it.

        Raises:
            SandboxError: the sandbox is gone.
        """
        async with self._clearing:
            if self._running == 0 and not self._paused:
                await self._clear()

    def close(self) -> None:
        """Give up all that it holds; the agent ends. May be called twice."""
        for slots in (self._idle, self._made, self._ended):
            for slot in slots:
                slot.close()
            slots.clear()
        for fd in (self._answers, self._orders, self._reader):
            if fd >= 0:
                os.close(fd)
        self._answers = self._orders = self._reader = -1

    def prepare(self, count: int = 1) -> None:
        """Let so many shells wait for the next commands. Before the agent is there, they are its first orders: only
        where nobody else could read them."""
        while len(self._idle) < count:
            self._idle.append(self._begin())

    def _tidy(self) -> None:
        """Make the next slot, best out of what commands before have left: work that no command waits for."""
        while self._ended:
            slot = self._ended.pop()
            if not self._made and slot.renew(secrets.token_hex(8)):
                self._made.append(slot)
            else:
                slot.close()
        if not self._idle and not self._made:
            self._made.append(self._make())

    def _make(self) -> Slot:
        return Slot(self.folder, secrets.token_hex(8), self.mark)

    def _begin(self) -> Slot:
        slot = self._made.pop() if self._made else self._make()
        try:
            self._order(f"shell {slot.name} {slot.token}\n")
        except SandboxError:
            slot.close()
            raise
        return slot

    async def _take(self) -> Slot:
        """A shell that waits for its command."""
        for attempt in range(_STARTS):
            slot = self._idle.pop(0) if self._idle else self._begin()
            ready = False
            try:
                with anyio.move_on_after(_ANSWER_S):
                    ready = await slot.ready()
            finally:
                if not ready:
                    slot.close()
            if ready:
                return slot
            await self._ask("ping")
            # What was left in the background takes all the processes there may be, or meddles with the shell that
            # waits. If nothing else helps, another command may be what does.
            if attempt >= (1 if self._running == 0 else _STARTS - 2):
                await self._clear()
            await anyio.sleep(_PAUSE_S * 2**attempt)
        raise SandboxError(f"no command can be started in {self.mark}", remedy="its limit of processes may be used up")

    async def _end(self, slot: Slot, how: How) -> None:
        with anyio.move_on_after(_BOUND):
            while await self._ender(slot, how):  # noqa: ASYNC110  nobody tells when the kernel has ended them
                await anyio.sleep(_PAUSE_S)
            return
        raise SandboxError(f"a command in {self.mark} cannot be ended")

    async def _end_quietly(self, slot: Slot) -> None:
        """End a command that was cancelled or whose sandbox failed: the first error is the one to be told."""
        try:
            await self._end(slot, "all")
        except SandboxError:
            return

    async def _clear(self) -> None:
        if self._clearer is not None:
            self._ended += self._idle  # a shell that waits is ended with the rest, though it said that it is ready
            self._idle.clear()
            await self._clearer()

    async def _clear_inside(self) -> None:
        await self._ask("clear")

    async def _end_inside(self, slot: Slot, how: How) -> int:
        return await self._ask("end", f"{slot.name} {slot.leader} {how}")

    def _order(self, line: str) -> None:
        try:
            os.write(self._orders, line.encode())
        except (BrokenPipeError, BlockingIOError) as error:
            raise SandboxError(f"{self.mark} has died") from error

    async def _ask(self, order: str, rest: str = "") -> int:
        """Give an order and wait for its answer."""
        with anyio.move_on_after(_ANSWER_S):
            async with self._asking:
                self._sequence += 1
                mine = str(self._sequence).encode()
                self._order(f"{order} {self._sequence} {rest}\n")
                while True:
                    line, newline, after = self._heard.partition(b"\n")
                    if newline:
                        self._heard = after
                        if (answer := _ANSWER.fullmatch(line)) and answer[1] == mine:
                            return int(answer[2])
                    elif not await self._hear():
                        raise SandboxError(f"{self.mark} has died")
        raise SandboxError(f"{self.mark} does not answer")

    async def _hear(self) -> bool:
        await anyio.wait_readable(self._answers)
        try:
            chunk = os.read(self._answers, 1 << 12)
        except BlockingIOError:
            return True
        # Without isolation a command can write here too: what is no line of the agent's is not kept.
        self._heard = self._heard[-_LONGEST:] + chunk if b"\n" not in self._heard else self._heard + chunk
        return bool(chunk)
