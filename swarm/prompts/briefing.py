"""What an attempt is told and given: the one place where the specification of a sub-agent is put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from swarm.events import Notice
from swarm.prompts.guidance import Guidance
from swarm.prompts.messages import fate, subagent_request
from swarm.prompts.texts import Prompts, own_prompts
from swarm.protocols import EventSink, Repository
from swarm.stages import Merged
from swarm.types import AgentLimits, AgentResult, AgentSpec, Plan, SubTask
from swarm.values import value


@value(frozen=True, slots=True)
class Terms:
    """What all attempts of a run have in common. `single`: one agent does the whole task; `test` is the gate's
    command, `guidance` what the repository's owner asks of agents."""

    task: str
    single: bool = False
    test: str | None = None
    limits: AgentLimits = field(default_factory=AgentLimits)
    prompts: Prompts = field(default_factory=own_prompts)
    repository: Repository | None = None
    guidance: Guidance = field(default_factory=Guidance)


@value(frozen=True, slots=True)
class Occasion:
    """What all attempts of one stage have in common, or of one group that a sub-agent starts.

    `onto` is the commit that they start from, `steps` the most that each may make, `calls` the tool calls that asked
    for them, by sub-task; `siblings` as in `AgentSpec`. `depth` counts the agents above them.
    """

    stage: int
    onto: str | None
    steps: float
    calls: Mapping[str, str] = field(default_factory=dict)
    siblings: bool = False
    depth: int = 1


class Briefing:
    """Makes the specifications of one run, and knows what came of earlier stages."""

    def __init__(self, terms: Terms, sink: EventSink | None = None) -> None:
        self._terms = terms
        self._sink = sink
        self._titles: dict[str, str] = {}
        self._results: dict[str, AgentResult] = {}
        self._fates: dict[str, str] = {}
        self._spawned = 0

    def __repr__(self) -> str:
        return f"<Briefing {self._spawned} specifications, {len(self._results)} results>"

    @property
    def guidance(self) -> Guidance:
        """What the repository's owner asks of agents."""
        return self._terms.guidance

    def forget_test(self) -> None:
        """There is no gate after all."""
        self._terms = replace(self._terms, test=None)

    def announce(self, plan: Plan) -> None:
        """Sub-tasks of this plan will ask for specifications."""
        self._titles |= {subtask.id: subtask.title for subtask in plan.subtasks}

    def remember(self, results: Sequence[AgentResult], merged: Merged) -> None:
        """What came of a stage, for those of later ones that depend on it; and of its changes, where that is not what
        whoever made them says."""
        self._results |= {result.subtask_id: result for result in results}
        told = merged.evicted.keys() | merged.repaired.keys() | merged.passed_over
        self._fates |= {each.subtask_id: fate(each, merged) for each in results if each.subtask_id in told}

    async def spec(
        self, subtask: SubTask, attempt: int, needed: Sequence[AgentResult], occasion: Occasion
    ) -> AgentSpec:
        """For one attempt. `needed` are the results of its own stage that it depends on."""
        terms, most = self._terms, self._terms.limits.max_steps
        earlier = [self._results[i] for i in dict.fromkeys(subtask.depends_on) if i in self._results]
        handed = [(self._titles[r.subtask_id], r) for r in [*earlier, *needed]]
        base, lacking = await self._base(occasion.onto, needed)
        self._tell(subtask, lacking)
        self._spawned += 1
        return AgentSpec(
            trajectory_id=subtask.id if attempt == 1 else f"{subtask.id}#{attempt}",
            subtask=subtask,
            stage=occasion.stage,
            attempt=attempt,
            spawn_index=self._spawned,
            system_prompt=self._role_of(subtask),
            instructions=subtask.instructions
            if terms.single
            else subagent_request(terms.task, terms.test, subtask, handed, terms.guidance, self._fates | lacking),
            base=base,
            limits=terms.limits if occasion.steps >= most else replace(terms.limits, max_steps=int(occasion.steps)),
            spawned_by=occasion.calls.get(subtask.id, ""),
            siblings=occasion.siblings,
            depth=occasion.depth,
        )

    def _role_of(self, subtask: SubTask) -> str:
        """The system prompt: what all share comes first."""
        ours = self._terms.prompts["single" if self._terms.single else "subagent"]
        return f"{ours}\n\n{subtask.system_prompt}" if subtask.system_prompt else ours

    async def _base(self, onto: str | None, needed: Sequence[AgentResult]) -> tuple[str | None, dict[str, str]]:
        """What was merged so far, with the changes of the sub-tasks that this one depends on; and of those whose change
        is not in it why."""
        base, repository, lacking = onto, self._terms.repository, dict[str, str]()
        if base is None or repository is None:
            return None, lacking
        for result in needed:
            if result.keep and result.commit:
                merged, files = await repository.merge(
                    base, result.commit, message=f"For a dependent of {result.subtask_id}"
                )
                if merged is None:
                    lacking[result.subtask_id] = (
                        f"[not in your files: its change conflicts with the others' in {files}]"
                    )
                base = merged or base
        return base, lacking

    def _tell(self, subtask: SubTask, lacking: Mapping[str, str]) -> None:
        if self._sink is not None:
            for other, why in lacking.items():
                word = f"{subtask.id} begins without the change of {other} {why}"
                self._sink.emit(Notice(level="warning", message=word))
