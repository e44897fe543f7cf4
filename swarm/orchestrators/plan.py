"""Mode `plan`: a model answers a plan by structured output, and plans again with what came back."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.agents.context import Context, ContextPolicy
from swarm.agents.conversation import Conversation
from swarm.errors import PlanError
from swarm.prompts.messages import plan_problems, planner_request, stage_report
from swarm.prompts.plan_form import plan_format, read_plan
from swarm.scheduling.plan_graph import problems
from swarm.stages import Dispatch, Finish, RunState, all_is_well
from swarm.types import Plan

_CUT_OFF = "the answer was cut off at the limit of its length: make the plan shorter, with fewer or briefer sub-tasks"
_LONGEST_REASON = 500


class PlanOrchestrator:
    """Asks for one plan a stage; an invalid one goes back once with the reasons.

    `conversation` holds the system prompt alone at first, and grows with every stage. At most `max_agents`
    sub-tasks may be asked for in all of at most `max_stages` stages together.
    """

    def __init__(
        self, conversation: Conversation, max_agents: int, max_stages: int, context: ContextPolicy | None = None
    ) -> None:
        self._conversation = conversation
        self._context = Context(conversation, context)
        self._max_agents = max_agents
        self._max_stages = max_stages

    async def decide(self, state: RunState) -> Dispatch | Finish:
        asked = [subtask.id for stage in state.stages for subtask in stage.plan.subtasks]
        repairs = sum(stage.merged.repairs for stage in state.stages)
        room, stages = self._max_agents - len(asked) - repairs, self._max_stages - len(state.stages)
        if not state.stages:
            self._say(planner_request(state, room, stages))
            plan = await self._plan(asked, room)
            if not plan.subtasks and (state.base_gate is None or not state.base_gate.passed):
                red = " though the test command fails" if state.base_gate is not None else ""
                raise PlanError(f"the plan is empty{red}: {_reason(plan)}")
            return Dispatch(plan) if plan.subtasks else Finish(plan.rationale)
        if all_is_well(state.stages) and not self._conversation.recorded:
            return Finish("")
        if state.closing:
            return Finish("", note=state.closing)
        if room < 1:
            return Finish("", note=f"all {self._max_agents} sub-agents of the run were used")
        self._say(stage_report(state.stages[-1], room, stages))
        try:
            plan = await self._plan(asked, room)
        except PlanError as error:  # what the stages before have come to is not lost for it
            return Finish("", note=error.message)
        return Dispatch(plan) if plan.subtasks else Finish("", dropped=plan.dropped)

    async def _plan(self, asked: Sequence[str], room: int) -> Plan:
        found: list[str] = []
        for again in (True, False):
            reply = await self._context.ask(response_format=plan_format())
            plan, found = read_plan(reply.content)
            if plan is None and reply.finish_reason == "length":
                found = [_CUT_OFF]
            if plan is not None:
                found = problems(plan, earlier=asked, room=room)
                if not found:
                    return plan
            if again:
                self._say(plan_problems(found))
        raise PlanError(
            f"the planner gave no plan that can be run: {'; '.join(found)}",
            remedy="mode single needs no plan, and --planner-model names another model for it",
        )

    def _say(self, text: str) -> None:
        self._conversation.say({"role": "user", "content": text})


def _reason(plan: Plan) -> str:
    reason = " ".join(plan.rationale.split())
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
