"""Drives an evaluation: its trials, so many at once, each run and then graded, to a line in the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.errors import SwarmError
from swarm.evals.records import TrialResult
from swarm.evals.runner.ledger import Ledger
from swarm.evals.runner.outputs import Outputs
from swarm.evals.runner.past import is_over
from swarm.evals.runner.places import Places, Trial
from swarm.evals.runner.source import Ran, Source
from swarm.evals.runner.tally import Progress
from swarm.evals.suite import Suite, Verdict
from swarm.mishap import fault_of
from swarm.rl.rollout.keeping import Patience
from swarm.whole_file import write_whole

PATCH, ANSWER = "patch.diff", "answer.txt"


class Why(StrEnum):
    """What ended an evaluation before all of its trials had a line."""

    NOTHING = ""
    USER = "interrupted"
    BUDGET = "budget"
    ENDPOINT = "endpoint"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Width:
    """Trials that are run at once, and those that are graded."""

    workers: int = 4
    graders: int = 2


class Halt:
    """Sets `over` once, with the first reason."""

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.why = Why.NOTHING
        self.message = ""

    def end(self, why: Why, message: str = "") -> None:
        """Let nothing more begin, and what is under way come to rest."""
        if not self.over.is_set():
            self.why, self.message = why, message
            self.over.set()


Watch = Callable[[TrialResult | None, Progress], None]
"""Told of a new line, or that a trial began (None), and how far all is."""


class Driver:
    """Takes trials to their lines. A trial's failure is its own; `halt` ends all."""

    def __init__(
        self, suite: Suite, source: Source, places: Places, ledger: Ledger, outputs: Outputs, halt: Halt
    ) -> None:
        self._suite = suite
        self._source = source
        self._places = places
        self._ledger = ledger
        self._outputs = outputs
        self._halt = halt
        self._in_a_row = 0  # runs that the machine failed, none of another kind between them

    async def run(self, trials: Sequence[Trial], width: Width, patience: Patience, watch: Watch) -> Progress:
        """Work on trials until each has a line, or `halt` is set and what was under way has come to rest.

        Raises:
            JournalError: a line or a report cannot be written.
        """
        known = {trial.key: self._ledger.trials[trial.key] for trial in trials if not self._ledger.lacks(trial.key)}
        progress = Progress(tuple(trial.key for trial in trials), time.monotonic(), known)
        workers, graders = anyio.CapacityLimiter(width.workers), anyio.CapacityLimiter(width.graders)
        most = max(8, 2 * width.workers)
        broken: list[SwarmError] = []

        async def one(trial: Trial) -> None:
            try:
                async with workers:
                    if self._halt.over.is_set():
                        return
                    progress.running.add(trial.key)
                    watch(None, progress)
                    started = time.time()
                    try:
                        ran = await self._source.run(trial, self._halt.over)
                    finally:
                        progress.running.discard(trial.key)
                if ran is None:
                    return
                self._count(ran, most)
                async with graders:
                    if self._halt.why is Why.USER:
                        return  # it is graded another time
                    progress.grading.add(trial.key)
                    try:
                        line = await self._graded(trial, ran, started, patience)
                    finally:
                        progress.grading.discard(trial.key)
                if line is None:
                    return
                await self._ledger.add(line)
                progress.trials[trial.key] = line
                progress.done += 1
                self._outputs.note()
                watch(line, progress)
            except SwarmError as error:
                broken.append(error)
                self._halt.end(Why.MACHINE, str(error))

        try:
            async with anyio.create_task_group() as writing:
                writing.start_soon(self._keep, broken)
                async with anyio.create_task_group() as working:
                    for trial in trials:
                        if trial.key not in known and self._source.has(trial):
                            working.start_soon(one, trial)
                writing.cancel_scope.cancel()
        finally:
            await self._outputs.write(self._ledger.trials)
        if broken:
            raise broken[0]
        return progress

    async def _keep(self, broken: list[SwarmError]) -> None:
        try:
            await self._outputs.keep(self._ledger.trials)
        except SwarmError as error:
            broken.append(error)
            self._halt.end(Why.MACHINE, str(error))

    def _count(self, ran: Ran, most: int) -> None:
        """Runs that fail one after the other are no chance: whatever is broken breaks the others, too."""
        if ran.unset:
            return
        self._in_a_row = 0 if ran.result is not None and is_over(ran.result) else self._in_a_row + 1
        if self._in_a_row >= most:
            self._halt.end(
                Why.MACHINE, f"{self._in_a_row} runs in a row were failed by the machine, the last: {ran.error}"
            )

    async def _graded(self, trial: Trial, ran: Ran, started: float, patience: Patience) -> TrialResult | None:
        """The line of a trial; None where it is to be graded another time."""
        if ran.result is None or not is_over(ran.result):
            return self._line(trial, ran, Verdict(None, error=ran.error or "the run was ended"), started)
        place = self._places.graded(*trial.key)
        verdict = Verdict(None)
        await anyio.to_thread.run_sync(partial(_lay_out, place, ran))
        for tries in range(1, patience.tries + 1):
            try:
                verdict = await self._suite.grade(trial.instance, ran.result, place)
            except Exception as error:  # noqa: BLE001  the suite may be anyone's, and other trials go on
                verdict = Verdict(None, error=str(fault_of(error, f"{trial.instance.id} cannot be graded")))
            if verdict.resolved is not None:
                break
            verdict = replace(verdict, error=verdict.error or "it could not be graded")
            if self._halt.over.is_set():
                return None
            if tries < patience.tries:
                with anyio.move_on_after(patience.backoff(tries)):
                    await self._halt.over.wait()
        return self._line(trial, ran, verdict, started)

    def _line(self, trial: Trial, ran: Ran, verdict: Verdict, started: float) -> TrialResult:
        result = ran.result
        line = TrialResult(
            instance_id=trial.instance.id,
            arm=trial.way.name,
            epoch=trial.epoch,
            seed=trial.seed,
            run=str(ran.folder.relative_to(self._places.root)) if ran.folder is not None else "",
            resolved=verdict.resolved,
            score=float(verdict.score),
            error=verdict.error,
            started=started,
            ended=time.time(),
            details=dict(verdict.details),
        )
        if result is not None:
            usage = result.usage
            line.status, line.cost_usd = result.status, result.cost_usd
            line.prompt_tokens, line.completion_tokens = usage.prompt_tokens, usage.completion_tokens
            line.cached_tokens, line.calls = usage.cached_tokens, usage.calls
            line.wall_s, line.outcomes = result.wall_s, result.outcomes
            line.critical_steps, line.total_steps = result.critical_steps, result.total_steps
            line.n_subagents, line.peak_concurrency = result.n_subagents, result.peak_concurrency
        if any(ran.set_aside):
            line.set_aside_tokens, line.set_aside_usd = ran.set_aside
        return line


def _lay_out(place: Path, ran: Ran) -> None:
    """The patch and the answer of a run, for the grader. Blocks."""
    assert ran.result is not None
    place.mkdir(parents=True, exist_ok=True)
    patch = Path(ran.result.patch_path).read_bytes() if ran.result.patch_path else b""
    write_whole(place / PATCH, patch)
    write_whole(place / ANSWER, ran.result.answer.encode("utf-8", "replace"))
