"""What a run that an earlier process left has come to, out of its folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
from pydantic import ValidationError

from swarm.budgets.funds import Funds
from swarm.budgets.levels import Amount, Limits
from swarm.errors import JournalError
from swarm.events import Event, LimitReached, RunResumed
from swarm.journal.reader import read_events
from swarm.result import RunResult
from swarm.types import RunStatus

_USAGE = 2
"""The exit code of a run whose configuration could not be used."""


class Unheard:
    """The sink of funds that only add up."""

    def emit(self, event: Event) -> None:
        """Nobody is told."""

    async def flush(self) -> None:
        """There is nothing."""


def result_in(folder: Path) -> RunResult | None:
    """The result of a run that is over, wherever its folder is now; None where it is to go on. Blocks."""
    try:
        result = RunResult.model_validate_json((folder / "result.json").read_bytes())
    except (OSError, ValidationError):
        return None
    if not is_over(result):
        return None
    if result.status is not RunStatus.COMPLETED and _cut_by_the_evaluation(folder):
        return None
    patch = folder / "patch.diff"
    return result.model_copy(update={"run_dir": str(folder), "patch_path": str(patch) if patch.is_file() else None})


def is_over(result: RunResult) -> bool:
    """Whether a run ended by itself: neither the machine nor the user ended it."""
    return result.status not in (RunStatus.ERRORED, RunStatus.CANCELLED) and result.exit_code != _USAGE


def is_unusable(folder: Path) -> bool:
    """Whether a run ended because its configuration could not be used: as it is, it would end so again. Blocks."""
    try:
        return RunResult.model_validate_json((folder / "result.json").read_bytes()).exit_code == _USAGE
    except (OSError, ValidationError):
        return False


def is_whole(folder: Path) -> bool:
    """Whether the record of a run can be read. Blocks."""
    try:
        for _ in read_events(folder / "events.jsonl"):
            pass
    except JournalError:
        return False
    return True


async def spent_in(folder: Path) -> Amount:
    """Tokens and dollars that a run has used, as it will count them when it goes on."""
    funds = Funds(Limits(), Unheard())
    funds.restore(await anyio.to_thread.run_sync(_readable, folder))
    return funds.run.used


def _readable(folder: Path) -> list[Event]:
    """The events up to the first that cannot be read."""
    found: list[Event] = []
    with suppress(JournalError):
        for event in read_events(folder / "events.jsonl"):
            found.append(event)
    return found


def _cut_by_the_evaluation(folder: Path) -> bool:
    """Whether the budget of the evaluation refused it a call since it went on last."""
    cut = False
    try:
        for event in read_events(folder / "events.jsonl"):
            match event:
                case LimitReached(scope="evaluation"):
                    cut = True
                case RunResumed():
                    cut = False
                case _:
                    pass
    except JournalError:
        return True
    return cut
