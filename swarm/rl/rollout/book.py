"""What a driver of rollouts must not forget: which are begun and not done. One file, written whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swarm.config import Rollout
from swarm.errors import JournalError, UsageError
from swarm.held_folder import hold_folder
from swarm.rl.tasks.task import Task
from swarm.whole_file import write_whole

STATE_FILE = "rollouts.json"
LOCK_FILE = "rollouts.lock"


class Slot(BaseModel):
    """One rollout that is not done: run number `rollout.index` of the group `rollout.group_id`.

    `run` is the folder of its run, empty before that was begun; `failures` counts how often the machine failed it.
    `segments` holds, for each time that it was worked on, the versions of the policy that answered, each once in a row.
    """

    model_config = ConfigDict(extra="forbid")

    task: Task
    rollout: Rollout
    seed: int | None = None
    run: str = ""
    failures: int = 0
    segments: list[list[str]] = Field(default_factory=list)

    @property
    def group_id(self) -> str:
        return self.rollout.group_id


class State(BaseModel):
    """The file. `id` tells its groups from those of other folders, `iteration` counts those that were begun."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    id: str = Field(default_factory=lambda: secrets.token_hex(4))
    iteration: int = 0
    slots: list[Slot] = Field(default_factory=list)


class Book:
    """Use `open_book`. Change `slots`, and then `note` it."""

    def __init__(self, path: Path, state: State) -> None:
        self.id = state.id
        self.iteration = state.iteration
        self.slots = {(slot.group_id, slot.rollout.index): slot for slot in state.slots}
        self._path = path
        self._changed = anyio.Event()
        self._closing = False

    def __repr__(self) -> str:
        return f"<Book of {len(self.slots)} open rollouts, iteration {self.iteration}>"

    def note(self) -> None:
        """Something has changed: it is written soon."""
        self._changed.set()

    def close(self) -> None:
        """Let `keep` write what is left and end."""
        self._closing = True
        self._changed.set()

    async def keep(self) -> None:
        """Write what changes, until closed; changes that come meanwhile are written together.

        Raises:
            JournalError: it cannot be written.
        """
        while True:
            await self._changed.wait()
            closing, self._changed = self._closing, anyio.Event()
            state = State.model_construct(id=self.id, iteration=self.iteration, slots=list(self.slots.values()))
            data = state.model_dump_json().encode()  # here, so that it is of one moment
            await anyio.to_thread.run_sync(_write, self._path, data)
            if closing:
                return


@asynccontextmanager
async def open_book(folder: Path) -> AsyncIterator[Book]:
    """The book in a folder, which is made; kept up to date for the length of the block.

    Raises:
        UsageError: it cannot be read, or another process has it open.
        JournalError: it cannot be written.
    """
    with hold_folder(folder, LOCK_FILE, busy="is in use by another iteration", remedy="one at a time"):
        book = Book(folder / STATE_FILE, _read(folder / STATE_FILE))
        broken: list[JournalError] = []
        async with anyio.create_task_group() as group:

            async def keep() -> None:
                with anyio.CancelScope(shield=True):  # what was noted is written, whatever happens
                    try:
                        await book.keep()
                    except JournalError as error:
                        broken.append(error)
                if broken:
                    group.cancel_scope.cancel()

            group.start_soon(keep)
            try:
                yield book
            finally:
                book.close()
        if broken:
            raise broken[0]


def ready(slots: Sequence[Slot]) -> list[Slot]:
    """Those that were begun first: their segments grow stale."""
    return sorted(slots, key=lambda slot: not slot.run)


def _read(path: Path) -> State:
    try:
        return State.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return State()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", remedy="name a folder that can be read") from None
    except ValidationError as error:
        why = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise UsageError(f"{path} is no state of rollouts: {why}", remedy="move it away to begin anew") from None


def _write(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data, 0o600)  # it holds the keys
    except OSError as error:
        raise JournalError(f"{path} cannot be written: {error.strerror or error}") from error
