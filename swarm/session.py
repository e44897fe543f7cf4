"""What a run is put together from: its tree, its workshop, its crew; and its way through the loop."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path

from pydantic_core import to_json

from swarm import __version__
from swarm.agents.agent import ToolKit
from swarm.agents.board import Board
from swarm.agents.checkpoints import Pace
from swarm.agents.context import ContextPolicy
from swarm.agents.conversation import Conversation
from swarm.agents.desk import Desk
from swarm.agents.line import Line
from swarm.agents.trajectory import Trajectory, open_trajectory, sha256
from swarm.aggregators.chosen import aggregator_for
from swarm.budgets.headcount import Headcount
from swarm.budgets.of_run import funds_of
from swarm.crew import Bounds, Crew
from swarm.documents.reading_room import ReadingRoom, open_room
from swarm.documents.readings import Readings
from swarm.elsewhere import Placing, here, open_placing
from swarm.errors import SwarmError
from swarm.events import AgentStarted, ControlUsed, Notice, RunStarted
from swarm.executors.local import LocalExecutor
from swarm.forecast.previewer import Previewer
from swarm.forecast.terms import terms_of
from swarm.hiring import hired_worker
from swarm.journal import redaction
from swarm.journal.artifacts import Artifacts
from swarm.journal.totals import Totals
from swarm.loading import lightly, look_ahead
from swarm.loop import Loop
from swarm.mishap import fault_of
from swarm.mission import Mission
from swarm.models.providers import redactor_of
from swarm.orchestrators.plan import PlanOrchestrator
from swarm.orchestrators.single import SingleOrchestrator
from swarm.places.outbox import write_patch, write_unmerged
from swarm.places.pool import Pool, open_pool
from swarm.places.refusals import refusals
from swarm.places.workshop import Workshop
from swarm.prompts.briefing import Briefing, Terms
from swarm.prompts.guidance import guidance_for
from swarm.protocols import EventSink, Orchestrator
from swarm.result import Sources
from swarm.scheduling.controls import Command
from swarm.scheduling.stragglers import StragglerPolicy
from swarm.scheduling.width import Width
from swarm.site import sandbox_site
from swarm.stopping import Stops, companions
from swarm.types import AgentLimits, JsonObject, Role
from swarm.verdict import orchestrators_end
from swarm.wiring import Tree, document_tools, open_toolkit, take_snapshot, working_copies

ORCHESTRATOR = "orchestrator"
"""The trajectory of the orchestrator."""
_OTHERWISE = "--test CMD gives another, --no-test none"


class Session:
    """One way through the loop. A fault of ours ends it and is kept in `fault`. Feed `board` and `funds` the
    events of the run."""

    def __init__(self, mission: Mission, sink: EventSink, totals: Totals, stops: Stops) -> None:
        self._mission = mission
        self._sink = sink
        self._totals = totals
        self._stop, self._halt, self._late = stops.stop, stops.halt, stops.late
        self.funds = funds_of(mission.config, sink, mission.purse, single=mission.single)
        self._store: Path | None = None
        self._tree: Tree | None = None
        self.commit: str | None = None
        self.left: dict[str, str] = {}
        self.answer = ""
        self.void = False  # the answer tells only why there is none
        self.board, self.headcount = Board(), Headcount(mission.config.max_agents)
        self.readings = Readings()
        self._room = ReadingRoom()
        self._artifacts = Artifacts(mission.folder / "artifacts", redactor_of(mission.config, os.environ))
        self._context = ContextPolicy(mission.prompts["compact"], self._artifacts)
        self._pace = Pace()
        self._placing: Placing = here
        names = {role: model.name for role, model in mission.models.by_role.items()}
        terms = terms_of(mission.config, str(mission.repo or ""), names, mission.models.prices)
        asks, worked = mission.approve is not None, mission.past.seconds()
        self._previewer = Previewer(mission.folder.parent, terms, totals, sink, asks=asks, worked=worked)
        self.fault: SwarmError | None = None
        self.declined = ""

    async def run(self) -> None:
        """Go the whole way."""
        try:
            await self._open_tree()
            mission, tree = self._mission, self._tree is not None
            self._room = await open_room(mission.attach, mission.folder, self.readings, self._sink, on_repository=tree)
            own = [*mission.parts.tools, *document_tools(self._room.library)]
            workshop = await self._workshop()
            async with (
                open_pool(workshop, mission.config.concurrency) as pool,
                open_toolkit(mission.config, tree, self._warn, own, self._artifacts) as tools,
                open_placing(mission, self._sink, self._tree, self.board, self._artifacts, workshop.workdir) as placing,
            ):
                self._placing = placing
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
        mission, config = self._mission, self._mission.config
        subagents = mission.models.line(Role.SUBAGENT, config, self.funds.work, self._sink, mission.past)
        workers = replace(subagents, pictures=self._room.pictures)
        desk = self._desk(Role.ORCHESTRATOR, ORCHESTRATOR)
        asks = workers if mission.single else desk.line  # it learns, and nobody else
        line = await asks.learning(replayed=config.replay is not None, stop=self._stop)
        if line is None:
            return
        if config.rollout.group_id and not line.learns:
            self._warn(f"{line.service.endpoint} gives no tokens of its answers: nothing can be trained on them")
        if mission.single:
            await self._loop(pool, tools, line, SingleOrchestrator(), "")
            return
        async with self._orchestrator_trajectory(pool, tools, replace(desk, line=line)) as (trajectory, orchestrator):
            await self._loop(pool, tools, workers, orchestrator, trajectory.id)
            stopped, late = self._stop.is_set(), self._late.is_set()
            trajectory.end(*orchestrators_end(self.fault, stopped=stopped, late=late), self.answer)

    async def write_patch(self) -> Path | None:
        """Write the difference that the run made to `patch.diff`; None where it made none, or it was declined: then it
        lies in `artifacts/declined.diff`."""
        if self._tree is None or self.commit is None:
            return None
        folder, changed = self._mission.folder, self.commit != self._tree.base
        if changed and self.declined != "patch":
            await self._tree.set_answer(self.commit)  # found in the store, whatever becomes of the files
        missing = self._totals.missing
        reasons = {name: why for name, why in self._totals.unmerged.items() if name in missing}
        await write_unmerged(folder, self._tree, self.left, reasons)
        if not changed:
            return None
        if self.declined == "patch":
            await write_patch(self._tree, self.commit, folder / "artifacts/declined.diff")
            return None
        return await write_patch(self._tree, self.commit, folder / "patch.diff")

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
                group_id=mission.config.rollout.group_id,
                rollout_index=mission.config.rollout.index,
                seed=mission.config.seed,
                models={role.value: model.name for role, model in mission.models.by_role.items()},
                endpoints={role.value: model.endpoint for role, model in mission.models.by_role.items()},
                **mission.config.rollout.policy,
                prompts=mission.prompts.versions,
                redaction_version=redaction.VERSION,
                repo=str(mission.repo or ""),
                dry_run=mission.dry_run,
                attached=list(mission.attach),
            )
        )
        for note in self._tree.notes if self._tree else ():
            self._warn(note)
        await self._sink.flush()

    async def look_at_sources(self) -> Sources | None:
        """Mark what the answer says of attached documents without a source that holds; None without any documents."""
        void, tree = self.void or self._mission.dry_run, self._tree
        patched = tree is not None and self.commit != tree.base
        self.answer, found, fault = await self._room.close(self.answer, void=void, patched=patched)
        self.fault = self.fault or fault
        return found

    async def _workshop(self) -> Workshop:
        mission, ground = self._mission, self._mission.ground
        site = await sandbox_site(ground.backend, mission.config, mission.repo)
        if site.notice:
            self._warn(site.notice)
        if ground.notice:
            self._sink.emit(Notice(message=ground.notice))
        return Workshop(
            run_id=mission.run_id,
            lease=ground.lease,
            backend=ground.backend,
            copies=await working_copies(ground.backend, ground.lease, self._store, ground.shelf),
            repository=self._tree,
            workdir=site.workdir,
            shown=site.shown,
            network=mission.config.network,
            refused=refusals(self._sink),
            hold=ground.hold,
        )

    @asynccontextmanager
    async def _orchestrator_trajectory(
        self, pool: Pool, tools: ToolKit, desk: Desk
    ) -> AsyncIterator[tuple[Trajectory, Orchestrator]]:
        mission, config = self._mission, self._mission.config
        custom, parl = mission.parts.orchestrator, config.mode == "parl"
        own: list[JsonObject] = []
        if parl and not custom:
            from swarm.orchestrators.parl import Bench, ParlOrchestrator, own_schemas

            own = list(own_schemas(tools))
        system = "" if custom else mission.prompts["orchestrator" if parl else "planner"]
        started = AgentStarted(
            trajectory_id=ORCHESTRATOR,
            role=Role.ORCHESTRATOR,
            name=ORCHESTRATOR,
            trainable=desk.line.learns,
            model=desk.line.service.name,
            system_prompt_sha256=sha256(system),
            tools=own,
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
                    bench = Bench(pool, tools, self._context, self._pace, self._room.auditor)
                    given = (conversation, bench, self._sink, self.headcount, config.max_orchestrator_steps)
                    yield trajectory, ParlOrchestrator(*given)
                else:
                    yield trajectory, PlanOrchestrator(conversation, config.max_agents, config.rounds, self._context)
            finally:
                trajectory.steps, trajectory.usage = conversation.steps, conversation.usage
                trajectory.tool_calls = conversation.tool_calls

    async def _loop(self, pool: Pool, tools: ToolKit, line: Line, orchestrator: Orchestrator, parent: str) -> None:
        mission, config = self._mission, self._mission.config
        gate = None
        if config.test:
            from swarm.gating.gate import Gate  # without a test nothing is judged

            gate = Gate(config.test, config.test_timeout, pool, self._sink, mission.past, self._artifacts)
        shared = self.board if config.board else None
        desk, custom = self._desk(Role.AGGREGATOR, parent), mission.parts.aggregator
        limits = AgentLimits(config.max_steps, config.agent_seconds, config.agent_tokens)
        guidance = await guidance_for(self._tree if config.agents_md else None, self._warn, self._room.overview)
        terms = Terms(mission.task, mission.single, config.test, limits, mission.prompts, self._tree, guidance)
        briefing, width = Briefing(terms, self._sink), Width(config.concurrency)
        stragglers = StragglerPolicy(config.straggler_factor, least_s=config.straggler_seconds, hedge=config.hedge)
        leads = None
        if config.max_depth > 1:
            from swarm.teams import Staff, Teams

            staff = Staff(briefing, self.headcount, width, self._sink, self._tree, stragglers, mission.controls)
            leads = Teams(staff, config.max_depth)
        worker = await hired_worker(config, mission.prompts["worker"], self._artifacts)
        given_here = (pool, line, tools, parent, shared, self._context, self._pace, leads)
        executor = self._placing(LocalExecutor(*given_here, auditor=self._room.auditor, worker=worker))
        queue = None
        if self._tree is not None:
            from swarm.merging.queue import MergeQueue  # without a repository nothing is merged
            from swarm.merging.repairs import Crew as RepairCrew

            # What one agent alone did is its answer, red or not.
            evicts = (None, None) if mission.single else (gate, config.test)
            queue = MergeQueue(self._tree, self._sink, self._stop, *evicts, self._halt)
            seats = (executor, briefing, width, self.funds, self.headcount, self._sink)
            repairs = RepairCrew(*seats, stragglers, mission.controls, mission.past)
            queue.repair_with(repairs, 0 if mission.single else config.repairs)
        crew = Crew(
            orchestrator=orchestrator,
            briefing=briefing,
            width=width,
            executor=executor,
            aggregator=aggregator_for(desk, queue, custom(desk) if custom else None),
            sink=self._sink,
            repository=self._tree,
            funds=self.funds,
            gate=gate,
            approve=mission.approve,
            controls=mission.controls,
            board=shared,
            previewer=None if mission.config.rollout.group_id else self._previewer,
            past=mission.past,
            headcount=self.headcount,
            queue=queue,
            halt=self._halt,
        )
        most = (config.concurrency, config.rounds, config.max_steps, mission.dry_run, config.max_agents)
        bounds = Bounds(*most, config.ask_usd, stragglers, bool(config.test_found))
        if config.test_found:
            self._sink.emit(Notice(message=f"the gate is `{config.test}`, found by {config.test_found}; {_OTHERWISE}"))
        loop = Loop(mission.task, mission.single, crew, bounds, self._totals, self._stop)
        kept = not config.rollout.group_id or mission.approve is not None  # of thousands of rollouts none goes back
        try:
            with mission.controls.heard_by(self._steered):
                async with companions() as beside:
                    beside.start_soon(look_ahead)
                    position = await loop.begin()
                with lightly():
                    from swarm.graph import go_on  # LangGraph: nothing before the first results needs it
                await go_on(loop, position, mission.folder / "graph.sqlite" if kept else None, mission.run_id)
        finally:  # what the stages before have come to is not lost when a part raises
            found = loop.findings
            self.commit, self.answer, self.fault = found.commit, found.answer, found.fault
            self.declined, self.void = found.declined, found.void
            self.left = {name: commit for each in found.stages for name, commit in each.merged.left.items()}

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
        given = (mission.run_id, mission.task, mission.config, mission.folder / "artifacts", self._stop, line)
        return Desk(*given, role, parent, mission.prompts, self._room.auditor)
