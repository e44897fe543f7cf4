"""What a run is put together from: its tree, its workshop, its crew; and its way through the loop."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import anyio
from pydantic_core import to_json

from swarm import __version__
from swarm.agents.agent import ToolKit
from swarm.agents.board import Board
from swarm.agents.checkpoints import Pace
from swarm.agents.context import ContextPolicy
from swarm.agents.conversation import Conversation
from swarm.agents.desk import Desk
from swarm.agents.trajectory import Trajectory, open_trajectory, sha256
from swarm.aggregators.chosen import aggregator_for
from swarm.approval import Approve
from swarm.budgets.budget import Terms as Kept
from swarm.budgets.funds import Funds
from swarm.budgets.headcount import Headcount
from swarm.budgets.levels import Limits
from swarm.config import RunConfig
from swarm.errors import SwarmError
from swarm.events import AgentStarted, ControlUsed, Notice, RunStarted
from swarm.executors.local import LocalExecutor
from swarm.forecast.previewer import Previewer
from swarm.forecast.terms import terms_of
from swarm.journal.artifacts import Artifacts
from swarm.journal.past import Past
from swarm.journal.reader import Held
from swarm.journal.totals import Totals
from swarm.mishap import fault_of
from swarm.models.providers import redactor_of
from swarm.orchestrators.parl import Bench, ParlOrchestrator, own_schemas
from swarm.orchestrators.plan import PlanOrchestrator
from swarm.orchestrators.single import SingleOrchestrator
from swarm.parts import Parts
from swarm.places.gate import Gate
from swarm.places.pool import Pool, open_pool
from swarm.places.workshop import Workshop
from swarm.prompts.briefing import Briefing, Terms
from swarm.prompts.texts import Prompts, own_prompts
from swarm.protocols import EventSink, Orchestrator, SandboxBackend
from swarm.scheduling.controls import Command, Controls
from swarm.scheduling.stragglers import StragglerPolicy
from swarm.scheduling.width import Width
from swarm.teams import Staff, Teams
from swarm.types import AgentLimits, Outcome, Role
from swarm.wiring import Models, Tree, open_toolkit, sandbox_site, take_snapshot, working_copies

ORCHESTRATOR = "orchestrator"
"""The trajectory of the orchestrator."""

MOST_REFUSALS = 50
"""Refusals of hosts that are told in one run."""


@dataclass(frozen=True, slots=True)
class Mission:
    """What a run is about and with what it is done. `repo` is the user's checkout, None without one; a dry run
    ends with the first plan. `notice` is for the user, about what was there before; `approve` answers questions. `past`
    is what the journal held that the run goes on with, all of which is in `held`."""

    run_id: str
    folder: Path
    task: str
    repo: Path | None
    config: RunConfig
    models: Models
    backend: SandboxBackend
    lease: Path
    dry_run: bool = False
    notice: str = ""
    parts: Parts = field(default_factory=Parts)
    approve: Approve | None = None
    controls: Controls = field(default_factory=Controls)
    prompts: Prompts = field(default_factory=own_prompts)
    past: Past = field(default_factory=Past)
    held: Held | None = None

    @property
    def single(self) -> bool:
        """Whether one agent does everything."""
        return self.config.mode == "single" and self.parts.orchestrator is None


class Session:
    """One way through the loop. A fault of ours ends it and is kept in `fault`. Feed `board` and `funds` the
    events of the run."""

    def __init__(self, mission: Mission, sink: EventSink, totals: Totals, stop: anyio.Event) -> None:
        self._mission = mission
        self._sink = sink
        self._totals = totals
        self._stop = stop
        self.funds = _funds(mission, sink)
        self._store: Path | None = None
        self._tree: Tree | None = None
        self.commit: str | None = None
        self.answer = ""
        self.void = False  # the answer tells only why there is none
        self.board = Board()
        self.headcount = Headcount(mission.config.max_agents)
        self._artifacts = Artifacts(mission.folder / "artifacts", redactor_of(mission.config, os.environ))
        self._context = ContextPolicy(mission.prompts["compact"], self._artifacts)
        self._pace = Pace()
        names = {role: model.name for role, model in mission.models.by_role.items()}
        terms = terms_of(mission.config, str(mission.repo or ""), names, mission.models.prices)
        asks, worked = mission.approve is not None, mission.past.seconds()
        self._previewer = Previewer(mission.folder.parent.parent, terms, totals, sink, asks=asks, worked=worked)
        self.fault: SwarmError | None = None
        self.declined = ""

    async def run(self) -> None:
        """Go the whole way."""
        try:
            await self._open_tree()
            workshop = await self._workshop()
            async with (
                open_pool(workshop, self._mission.config.concurrency) as pool,
                open_toolkit(
                    self._mission.config,
                    self._tree is not None,
                    self._warn,
                    self._mission.parts.tools,
                    self._artifacts,
                ) as tools,
            ):
                await self._orchestrate(pool, tools)
        except SwarmError as fault:
            self.fault = fault
        except (OSError, sqlite3.Error) as broken:  # a full disk shows wherever something is written
            self.fault = fault_of(broken, f"the run's files in {self._mission.folder}")
        except Exception as error:  # noqa: BLE001  the parts may be anyone's: whatever they raise ends the run in order
            self.fault = fault_of(error)
        if (tape := self._mission.models.tape) is not None:
            self.fault = tape.error or self.fault  # also where whoever asked went on without an answer
            if text := tape.leftover():
                self._sink.emit(Notice(message=text, level="warning"))

    async def _orchestrate(self, pool: Pool, tools: ToolKit) -> None:
        if self._mission.single:
            await self._loop(pool, tools, SingleOrchestrator(), "")
            return
        async with self._orchestrator_trajectory(pool, tools) as (trajectory, orchestrator):
            await self._loop(pool, tools, orchestrator, trajectory.id)
            outcome = Outcome.CANCELLED if self._stop.is_set() else Outcome.COMPLETED
            if self.fault is not None:
                outcome = Outcome.ERRORED
            trajectory.end(outcome, type(self.fault).__name__ if self.fault else "finished", self.answer)

    async def write_patch(self) -> Path | None:
        """Write the difference that the run made to `patch.diff`; None where it made none, or it was declined: then it
        lies in `artifacts/declined.diff`."""
        if self._tree is None or self.commit is None or self.commit == self._tree.base:
            return None
        patch = await self._tree.diff(self._tree.base, self.commit)
        if self.declined == "patch":
            await anyio.Path(self._mission.folder / "artifacts/declined.diff").write_bytes(patch)
            return None
        await self._tree.set_answer(self.commit)
        path = self._mission.folder / "patch.diff"
        await anyio.Path(path).write_bytes(patch)
        return path

    def _warn(self, message: str) -> None:
        self._sink.emit(Notice(message=message, level="warning"))

    async def _open_tree(self) -> None:
        mission = self._mission
        if mission.repo is not None:
            self._store = mission.folder / "repo.git"
            self._tree = await take_snapshot(mission.repo, self._store, again=mission.held is not None)
            self.commit = self._tree.base
        config = mission.config.model_dump(mode="json", exclude={"record"})
        self._sink.emit(
            RunStarted(
                task=mission.task,
                task_sha256=sha256(mission.task),
                mode=mission.config.mode,
                swarm_version=__version__,
                config=config,
                config_sha256=sha256(to_json(config).decode()),
                git_head=self._tree.head if self._tree else "",
                base_commit=self._tree.base if self._tree else "",
                seed=mission.config.seed,
                models={role.value: model.name for role, model in mission.models.by_role.items()},
                endpoints={role.value: model.endpoint for role, model in mission.models.by_role.items()},
                prompts=mission.prompts.versions,
                repo=str(mission.repo or ""),
                dry_run=mission.dry_run,
            )
        )
        await self._sink.flush()

    async def _workshop(self) -> Workshop:
        mission = self._mission
        site = await sandbox_site(mission.backend, mission.config, mission.repo)
        if site.notice:
            self._warn(site.notice)
        if mission.notice:
            self._sink.emit(Notice(message=mission.notice))
        return Workshop(
            run_id=mission.run_id,
            lease=mission.lease,
            backend=mission.backend,
            copies=await working_copies(mission.backend, mission.lease, self._store),
            repository=self._tree,
            workdir=site.workdir,
            env=site.env,
            toolchain=site.toolchain,
            network=mission.config.network,
            refused=_refusals(self._sink),
        )

    @asynccontextmanager
    async def _orchestrator_trajectory(
        self, pool: Pool, tools: ToolKit
    ) -> AsyncIterator[tuple[Trajectory, Orchestrator]]:
        mission, config = self._mission, self._mission.config
        custom, parl = mission.parts.orchestrator, config.mode == "parl"
        system = "" if custom else mission.prompts["orchestrator" if parl else "planner"]
        desk = self._desk(Role.ORCHESTRATOR, ORCHESTRATOR)
        started = AgentStarted(
            trajectory_id=ORCHESTRATOR,
            role=Role.ORCHESTRATOR,
            name=ORCHESTRATOR,
            trainable=True,
            model=desk.line.service.name,
            system_prompt_sha256=sha256(system),
            tools=list(own_schemas(tools)) if parl and not custom else [],
            max_steps=config.max_orchestrator_steps if parl else 0,
        )
        async with open_trajectory(self._sink, started) as trajectory:
            messages = [{"role": "system", "content": system}] if system else []
            conversation = Conversation(desk.line, trajectory.id, Role.ORCHESTRATOR, messages)
            trajectory.before = mission.past.seconds(trajectory.id)
            try:
                if custom is not None:
                    yield trajectory, custom(desk, conversation)
                elif parl:
                    bench, limit = Bench(pool, tools, self._context, self._pace), config.max_orchestrator_steps
                    yield trajectory, ParlOrchestrator(conversation, bench, self._sink, self.headcount, limit)
                else:
                    yield trajectory, PlanOrchestrator(conversation, config.max_agents, config.rounds, self._context)
            finally:
                trajectory.steps, trajectory.usage = conversation.steps, conversation.usage

    async def _loop(self, pool: Pool, tools: ToolKit, orchestrator: Orchestrator, parent: str) -> None:
        from swarm.loop import Bounds, Crew, Loop  # LangGraph: seconds of import, wanted only when a run starts

        mission, config = self._mission, self._mission.config
        line = mission.models.line(Role.SUBAGENT, config, self.funds.work, self._sink, mission.past)
        gate = Gate(config.test, config.test_timeout, pool, self._sink, mission.past) if config.test else None
        shared = self.board if config.board else None
        desk, custom = self._desk(Role.AGGREGATOR, parent), mission.parts.aggregator
        limits = AgentLimits(config.max_steps, config.agent_seconds, config.agent_tokens)
        terms = Terms(mission.task, mission.single, config.test, limits, mission.prompts, self._tree)
        briefing, width = Briefing(terms), Width(config.concurrency)
        stragglers = StragglerPolicy(config.straggler_factor, least_s=config.straggler_seconds, hedge=config.hedge)
        staff = Staff(briefing, self.headcount, width, self._sink, self._tree, stragglers, mission.controls)
        leads = Teams(staff, config.max_depth) if config.max_depth > 1 else None
        crew = Crew(
            orchestrator=orchestrator,
            briefing=briefing,
            width=width,
            executor=LocalExecutor(pool, line, tools, parent, shared, self._context, self._pace, leads),
            aggregator=aggregator_for(desk, self._tree, custom(desk) if custom else None),
            sink=self._sink,
            repository=self._tree,
            funds=self.funds,
            gate=gate,
            approve=mission.approve,
            controls=mission.controls,
            board=shared,
            previewer=self._previewer,
            past=mission.past,
            headcount=self.headcount,
        )
        bounds = Bounds(
            config.concurrency,
            config.rounds,
            config.max_steps,
            mission.dry_run,
            config.max_agents,
            config.ask_usd,
            stragglers,
        )
        loop = Loop(mission.task, mission.single, crew, bounds, self._totals, self._stop)
        try:
            with mission.controls.heard_by(self._steered):
                await loop.run(mission.folder / "graph.sqlite", mission.run_id)
        finally:  # what the stages before have come to is not lost when a part raises
            found = loop.findings
            self.commit, self.answer, self.fault = found.commit, found.answer, found.fault
            self.declined, self.void = found.declined, found.void

    def _steered(self, command: Command) -> None:
        self._sink.emit(ControlUsed(**asdict(command)))
        if command.action == "budget":
            unpriced = command.usd is not None and None in self._mission.models.prices.values()
            if unpriced:
                self._warn("a budget in dollars cannot be kept: not all prices are known")
            self.funds.allow(command.tokens, None if unpriced else command.usd)

    def _desk(self, role: Role, parent: str) -> Desk:
        mission = self._mission
        line = mission.models.line(role, mission.config, self.funds.of(role), self._sink, mission.past)
        artifacts, prompts = mission.folder / "artifacts", mission.prompts
        return Desk(mission.run_id, mission.task, mission.config, artifacts, self._stop, line, role, parent, prompts)


def _funds(mission: Mission, sink: EventSink) -> Funds:
    """What the run may use; of it is kept back what comes after the sub-agents, which one agent alone does not need."""
    config = mission.config
    limits = Limits(config.budget_tokens, config.budget_usd, config.max_critical_steps, config.timeout)
    last_word = int(config.mode == "parl" and not mission.single)
    kept = Kept(part=0.0 if mission.single else config.reserve, steps=last_word, time=config.reserve)
    return Funds(limits, sink, kept, config.soft_limit)


def _refusals(sink: EventSink) -> Callable[[str], None]:
    """Tells the user what sandboxes asked the network for in vain, each once in a run."""
    told: set[str] = set()

    def tell(line: str) -> None:
        if line not in told and len(told) < MOST_REFUSALS:
            told.add(line)
            sink.emit(Notice(message=line, level="warning"))

    return tell
