"""Checkpoints of what an agent has made in its working copy, so that it can go on after a crash.

One is made while the model thinks, and only after tools that may have changed something. Those of a run together take
a small part of one processor: tools that were used since the last one are used again for their effect.
"""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

import anyio

from swarm.agents.conversation import Conversation
from swarm.errors import MachineError
from swarm.events import Notice, TreeKept
from swarm.protocols import Repository, WorkingCopy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOOKING = frozenset(["read", "grep", "glob", "job", "submit", "board", "artifact", "web_fetch", "web_search"])
"""Tools that change nothing in a working copy."""

REMADE = frozenset(("bash", "write", "edit", "apply_patch", "python"))
"""Tools that reach nothing but the sandbox, so that a use of them can be made again for its effect there."""

_SHELLS = frozenset(("bash", "python"))

SHARE = 0.1
"""Of the time of one processor, what the checkpoints of a run may take."""

RESTARTED = (
    "[The sandbox was restarted. The workspace is as you left it, but for files that git ignores. The working "
    "directory and the variables of your shell, all processes, and files outside of the workspace are gone.]"
)
"""What a model is told whose sandbox is another than before."""


class Pace:
    """How often checkpoints are made, for all agents of a run."""

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        self._next = 0.0
        self.made = 0
        self.seconds = 0.0

    def __repr__(self) -> str:
        return f"<Pace: {self.made} checkpoints in {self.seconds:.2f} s>"

    def allows(self) -> bool:
        """Whether one may be made now."""
        return time.monotonic() >= self._next

    def took(self, seconds: float) -> None:
        """One was made."""
        self.made += 1
        self.seconds += seconds
        self._next = max(self._next, time.monotonic()) + seconds * (1 / self._share - 1)


class HasCopy(Protocol):
    """Where an agent works."""

    @property
    def copy(self) -> WorkingCopy | None: ...


class Keeper:
    """Asks for one agent, and meanwhile keeps its tree. `place` has its working copy where there is one; `base` is the
    commit that it began as; `since` is the turn after which it did."""

    __slots__ = (
        "_base", "_changed", "_conversation", "_kept", "_kept_turn", "_lasting", "_pace", "_place", "_repository",
        "_restarted",
    )  # fmt: skip

    def __init__(
        self,
        conversation: Conversation,
        repository: Repository | None,
        place: HasCopy,
        base: str | None,
        pace: Pace,
        since: int = 0,
    ) -> None:
        self._conversation = conversation
        self._repository = repository
        self._place = place
        self._base = base
        self._pace = pace
        past, name = conversation.line.past, conversation.trajectory_id
        kept = past.kept(name) if past.goes_on(name) else None
        self._kept = kept if kept is not None and kept.turn > since else None
        self._kept_turn = self._kept.turn if self._kept is not None else since
        self._restarted = past.goes_on(name) and bool(past.tools_used(name, since) & _SHELLS)
        self._changed = self._lasting = False

    def __repr__(self) -> str:
        return f"<Keeper of {self._conversation.trajectory_id}: kept after turn {self._kept_turn}>"

    def remakes(self, tool: str) -> bool:
        """Whether a recorded use of a tool is made again, in this turn."""
        return tool in REMADE and self._conversation.steps > self._kept_turn

    async def restore(self) -> None:
        """Bring the new working copy to the last checkpoint.

        Raises:
            MachineError: it is gone.
        """
        copy = self._place.copy
        if self._kept is not None and copy is not None and self._kept.commit != copy.commit:
            await copy.move_to(self._kept.commit, as_changes=True)

    def brought_to(self, commit: str) -> None:
        """The tree was brought to a commit in this turn: that is a checkpoint."""
        conversation = self._conversation
        self._changed = self._lasting = False
        self._kept_turn = conversation.steps
        conversation.line.sink.emit(
            TreeKept(
                trajectory_id=conversation.trajectory_id,
                call_id=conversation.call_id,
                turn=conversation.steps,
                commit=commit,
            )
        )

    def used(self, tool: str) -> None:
        """A tool was used in this turn."""
        if tool not in LOOKING and self._conversation.steps > self._kept_turn:
            self._changed = True
            self._lasting = self._lasting or tool not in REMADE

    def beside(self) -> AbstractAsyncContextManager[None]:
        """While the block lasts, in which the model is asked, keep the tree where that is due."""
        conversation = self._conversation
        if conversation.recorded:
            return nullcontext()
        if self._restarted:
            self._restarted = False
            conversation.say({"role": "user", "content": RESTARTED})
        return self._keeping() if self._due() else nullcontext()

    @asynccontextmanager
    async def _keeping(self) -> AsyncIterator[None]:
        conversation = self._conversation
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._keep, conversation.call_id, conversation.steps)
            try:
                yield
            except Exception as error:  # noqa: BLE001  raised again below, outside of the group
                failure = error
        if failure is not None:
            raise failure

    def _due(self) -> bool:
        return self._changed and self._place.copy is not None and (self._lasting or self._pace.allows())

    async def _keep(self, call_id: str, turn: int) -> None:
        copy, repository, base = self._place.copy, self._repository, self._base
        if copy is None or repository is None or base is None:
            return
        conversation, started = self._conversation, time.monotonic()
        try:
            # Of a fork: who works in the copy could lead us out of it while we read.
            async with copy.fork() as frozen:
                captured = await repository.capture(
                    frozen.tree, base, author=conversation.trajectory_id, message=f"After {call_id}"
                )
        except MachineError as error:
            conversation.line.sink.emit(
                Notice(level="warning", message=f"no checkpoint: {error}", trajectory_id=conversation.trajectory_id)
            )
            return
        seconds = time.monotonic() - started
        self._pace.took(seconds)
        if captured.failure:
            return
        self._changed = self._lasting = False
        self._kept_turn = turn
        conversation.line.sink.emit(
            TreeKept(
                trajectory_id=conversation.trajectory_id,
                call_id=call_id,
                turn=turn,
                commit=captured.commit or base,
                seconds=seconds,
            )
        )
