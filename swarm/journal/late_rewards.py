"""Rewards that are given after a run has ended, by graders and judges: `rewards.jsonl` beside its log.

The log itself stays as its end tells it, `run_end` last. Of several rewards of one name the last one counts, so that
what is given here takes the place of what the run said of itself.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from swarm.errors import JournalError, UsageError
from swarm.events import RewardGiven
from swarm.journal.lines import cut_torn_line, sealed
from swarm.whole_file import open_plain

REWARDS_FILE = "rewards.jsonl"

REWARD: TypeAdapter[RewardGiven] = TypeAdapter(RewardGiven)


def give_rewards(folder: Path, rewards: Sequence[RewardGiven]) -> None:
    """Append to the rewards of the run in `folder`, all of these and on disk when it returns. Blocks.

    Raises:
        UsageError: one is of another run.
        JournalError: they cannot be written.
    """
    path = folder / REWARDS_FILE
    for each in rewards:
        if each.scope == "run" and each.target_id != folder.name:
            raise UsageError(
                f"{each.name} is a reward of the run {each.target_id!r}, this is {folder.name}",
                remedy="its target_id is the run's id, which is the name of its folder",
            )
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            cut_torn_line(fd)
            with path.open("rb") as lines:
                seq = sum(1 for _ in lines)
            left = memoryview(b"".join(_line(each, seq + n, folder.name) for n, each in enumerate(rewards)))
            while left:
                left = left[os.write(fd, left) :]
            os.fdatasync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise JournalError(f"{path} cannot be written: {error.strerror or error}") from error


def late_rewards(folder: Path) -> Iterator[RewardGiven]:
    """What was given to the run in `folder` after its end, in order. A torn last line is left out.

    Raises:
        JournalError: the file cannot be read, or a line of it is no reward.
    """
    path = folder / REWARDS_FILE
    try:
        with open_plain(path) as file:
            data = file.read()
    except FileNotFoundError:
        return
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror or error}") from error
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        if line.endswith(b"\n"):
            try:
                yield REWARD.validate_json(line)
            except ValidationError as error:
                why = error.errors(include_url=False, include_input=False)[0]["msg"]
                raise JournalError(
                    f"{path}, line {number}: no reward: {why}", remedy="check it with `swarm validate`"
                ) from None


def _line(reward: RewardGiven, seq: int, run_id: str) -> bytes:
    placed = {"seq": seq, "run_id": run_id, "t": time.time(), "mono": time.monotonic(), "crc": ""}
    return sealed(to_json(reward.model_copy(update=placed).model_dump()))
