"""Trials that are run by swarms: one open `Swarm` a model, one purse for all, each run kept at until it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.budgets.budget import Budget
from swarm.budgets.levels import Limits, figure
from swarm.config import Rollout, RunConfig
from swarm.errors import JournalError, MachineError, UsageError
from swarm.evals.runner.past import is_over, is_unusable, is_whole, result_in, spent_in
from swarm.evals.runner.places import Places, Trial
from swarm.evals.runner.source import Ran
from swarm.evals.suite import Ready, Suite
from swarm.events import AgentEnded, CallFinished, Event, LimitReached, RunEnded
from swarm.mishap import fault_of
from swarm.parts import Own
from swarm.removal import remove_tree
from swarm.result import RunResult
from swarm.retry import FATAL
from swarm.rl.rollout.keeping import Patience, begin_or_go_on, for_a_segment, keep_at
from swarm.rl.rollout.segment import Segment
from swarm.run_folders import new_run_id
from swarm.runtime import Swarm
from swarm.types import Outcome, RunStatus

_FATAL = {kind.value for kind in FATAL}
_SAME = "give the same image or data, or begin anew in another folder"
SETUP = "setup"
"""The folder of a trial in which its instance is set up, for as long as it runs."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all runs. `endpoint` is called with the reason when no call will be answered any more, `budget`
    when that of the evaluation has no room for a call. `digests` holds what instances were set up with, by id."""

    patience: Patience
    endpoint: Callable[[str], None]
    budget: Callable[[str], None]
    digests: dict[str, str]


@dataclass
class _Attempts:
    """A trial's way. `run` is the folder of its run, None before that was begun; `purse` holds what it has used."""

    trial: Trial
    folder: Path
    purse: Budget
    run: Path | None = None
    failures: int = 0
    set_aside: list[Path] = field(default_factory=list)
    error: str = ""
    broke: str = ""
    over_budget: str = ""
    fatal: str = ""

    @property
    def reason(self) -> str:
        """Why the run was failed by the machine: what is known of an agent's end, and of the run's."""
        known = self.broke and self.broke not in self.error
        return f"{self.broke}: {self.error}" if known and self.error else self.error or self.broke

    def observe(self, event: Event) -> None:
        match event:
            case CallFinished():
                self.fatal = event.error if event.error in _FATAL else ""
            case AgentEnded(outcome=Outcome.ERRORED):
                self.broke = event.final_output
            case RunEnded():
                self.error = event.error
            case LimitReached(scope="evaluation"):
                self.over_budget = f"{figure(event.used)} of {figure(event.limit)} {event.what} are used"
            case _:
                pass


class Agents:
    """The source of runs of an evaluation. `swarms` are open, by the model of an arm; `purse` pays all of them."""

    def __init__(self, suite: Suite, swarms: Mapping[str, Swarm], places: Places, purse: Budget, terms: Terms) -> None:
        self._suite = suite
        self._swarms = swarms
        self._places = places
        self._purse = purse
        self._terms = terms
        self._attempts: dict[tuple[str, str, int], _Attempts] = {}

    def has(self, trial: Trial) -> bool:
        """Every trial can be run."""
        return True

    async def recall(self, trial: Trial) -> None:
        """Book what an earlier process spent on a trial that has no line yet. What it did not record is gone."""
        for folder in self._places.unrecorded(trial.key):
            await anyio.to_thread.run_sync(remove_tree, folder)
        attempts = self._of(trial)
        for folder in (*attempts.set_aside, *([attempts.run] if attempts.run else ())):
            spent = await spent_in(folder)
            (attempts.purse if folder == attempts.run else self._purse).book(spent.tokens, spent.usd, 0)

    async def recall_other(self, key: tuple[str, str, int]) -> None:
        """The same for a trial that this process is not asked for."""
        for folder in self._places.runs(key):
            spent = await spent_in(folder)
            self._purse.book(spent.tokens, spent.usd, 0)

    async def run(self, trial: Trial, over: anyio.Event) -> Ran | None:
        """See `Source.run`."""
        attempts = self._of(trial)
        if attempts.run is not None:
            before = await anyio.to_thread.run_sync(result_in, attempts.run)
            if before is not None:
                return await self._ran(attempts, before)
        place = attempts.folder / SETUP
        try:
            await anyio.to_thread.run_sync(partial(_empty, place))
            try:
                async with self._suite.ready(trial.instance, place) as ready:
                    work = partial(self._once, attempts, ready, over)
                    self._check(trial.instance.id, ready.digest)
                    kept = await keep_at(attempts, work, over, self._terms.patience)
            finally:
                with anyio.CancelScope(shield=True), suppress(OSError):
                    await anyio.to_thread.run_sync(remove_tree, place)
        except Exception as error:  # noqa: BLE001  the suite may be anyone's, and other instances go on
            told = str(fault_of(error, f"{trial.instance.id} cannot be set up"))
            return replace(await self._ran(attempts, None, told), unset=True)
        if kept is None or attempts.fatal or attempts.over_budget:
            return None
        result, why = kept
        return await self._ran(attempts, result, why or attempts.reason)

    async def _once(self, attempts: _Attempts, ready: Ready, over: anyio.Event) -> tuple[RunResult | None, str]:
        """One segment of a trial's run."""
        attempts.error = attempts.broke = attempts.fatal = attempts.over_budget = ""
        segment = Segment(lambda run_id: None)
        once = partial(self._begin_or_go_on, attempts, ready)
        result, error = await for_a_segment(segment, once, over, self._terms.patience.grace)
        if attempts.over_budget and (result is None or result.status is not RunStatus.COMPLETED):
            self._terms.budget(attempts.over_budget)
        elif result is None or result.status is not RunStatus.ERRORED:
            attempts.fatal = ""
        elif attempts.fatal:
            self._terms.endpoint(attempts.error or f"the endpoint gave {attempts.fatal}")
        if result is not None and result.status is RunStatus.COMPLETED:
            attempts.over_budget = ""
        return result, error

    async def _begin_or_go_on(self, attempts: _Attempts, ready: Ready, segment: Segment) -> RunResult:
        trial, swarm = attempts.trial, self._swarms[attempts.trial.way.arm.model]

        def observe(event: Event) -> None:
            segment.observe(event)
            attempts.observe(event)

        async def go_on() -> RunResult:
            assert attempts.run is not None
            if await anyio.to_thread.run_sync(is_unusable, attempts.run):
                raise UsageError(f"{attempts.run.name} could not be used as it was")
            self._take_back(attempts)
            own = Own(tools=tuple(ready.tools), purse=attempts.purse)
            resume = partial(swarm.resume, str(attempts.run), on_event=observe, own=own)
            try:
                return await resume(stop=segment.stop, controls=segment.controls)
            except JournalError as error:
                if await anyio.to_thread.run_sync(is_whole, attempts.run):
                    raise
                raise UsageError(str(error)) from error  # it is begun anew

        async def begin() -> RunResult:
            if attempts.run is not None:
                await self._set_aside(attempts)
            attempts.run = attempts.folder / new_run_id()
            own = Own(attempts.run, _config_of(trial, self._suite.name, ready), tuple(ready.tools), attempts.purse)
            run = partial(swarm.run, trial.instance.prompt, repo=ready.repo, on_event=observe, own=own)
            return await run(stop=segment.stop, controls=segment.controls)

        return await begin_or_go_on("" if attempts.run is None else str(attempts.run), go_on, begin)

    def _of(self, trial: Trial) -> _Attempts:
        if trial.key not in self._attempts:
            runs = self._places.runs(trial.key)
            last = runs.pop() if runs else None
            purse = self._purse.child(Limits(), trial.instance.id)
            folder = self._places.trial(*trial.key)
            self._attempts[trial.key] = _Attempts(trial, folder, purse, last, set_aside=runs)
        return self._attempts[trial.key]

    def _take_back(self, attempts: _Attempts) -> None:
        """The run that goes on books again what it has used."""
        used = attempts.purse.used
        self._purse.used.add(-used.tokens, -used.usd)
        attempts.purse = self._purse.child(Limits(), attempts.purse.name)

    async def _set_aside(self, attempts: _Attempts) -> None:
        """A run cannot be gone on with: its record stays where something is in it, and what it used is booked."""
        assert attempts.run is not None
        record = anyio.Path(attempts.run / "events.jsonl")
        if not await record.exists() or not (await record.stat()).st_size:
            await anyio.to_thread.run_sync(remove_tree, attempts.run)
            return
        attempts.set_aside.append(attempts.run)
        self._take_back(attempts)
        spent = await spent_in(attempts.run)
        self._purse.book(spent.tokens, spent.usd, 0)

    def _check(self, instance_id: str, digest: str) -> None:
        """An instance is the same in all its trials."""
        before = self._terms.digests.setdefault(instance_id, digest) if digest else ""
        if before != digest:
            raise MachineError(f"it was set up with {before} before, and is with {digest} now", remedy=_SAME)

    async def _ran(self, attempts: _Attempts, result: RunResult | None, error: str = "") -> Ran:
        there = attempts.run is not None and await anyio.Path(attempts.run).is_dir()
        without = [attempts.run] if result is None and there and attempts.run is not None else []
        lost = [await spent_in(folder) for folder in (*attempts.set_aside, *without)]
        aside = sum(each.tokens for each in lost), sum(each.usd for each in lost)
        if result is not None and is_over(result):
            error = ""
        return Ran(result, error, attempts.run if there else None, aside)


def _config_of(trial: Trial, suite: str, ready: Ready) -> RunConfig:
    config = trial.way.config
    given = {"image": ready.image, "workdir": ready.workdir}
    given = {key: value for key, value in given.items() if value is not None}
    group = Rollout(group_id=f"{suite}/{trial.instance.id}", index=trial.epoch - 1)
    return config.model_copy(
        update={
            "test": ready.test,
            "seed": config.seed if trial.seed is None else trial.seed,
            "rollout": group,
            "sandbox_env": {**config.sandbox_env, **ready.env},
            "toolchain": tuple(dict.fromkeys((*config.toolchain, *ready.toolchain))),
            **given,
        }
    )


def _empty(folder: Path) -> None:
    """An empty folder, whatever was there."""
    if folder.exists():
        remove_tree(folder)
    folder.mkdir(parents=True)
