"""Mode `plan`: a model answers a plan by structured output, and plans again with what came back."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from swarm.conversation import Conversation
from swarm.errors import PlanError
from swarm.plan_graph import problems
from swarm.prompting import plan_format, plan_problems, planner_request, stage_report
from swarm.stages import Dispatch, Finish, RunState, all_is_well
from swarm.types import Plan


class PlanOrchestrator:
    """Asks for one plan a stage; an invalid one goes back once with the reasons.

    `conversation` holds the system prompt alone at first, and grows with every stage. At most `max_agents`
    sub-tasks may be asked for in all stages together.
    """

    def __init__(self, conversation: Conversation, max_agents: int) -> None:
        self._conversation = conversation
        self._max_agents = max_agents

    async def decide(self, state: RunState) -> Dispatch | Finish:
        asked = [subtask.id for stage in state.stages for subtask in stage.plan.subtasks]
        room = self._max_agents - len(asked)
        if not state.stages:
            self._say(planner_request(state, room))
            plan = await self._plan(asked, room)
            return Dispatch(plan) if plan.subtasks else Finish(plan.rationale)
        if all_is_well(state.stages):
            return Finish("")
        if room < 1:
            return Finish("", note=f"all {self._max_agents} sub-agents of the run were used")
        self._say(stage_report(state.stages[-1], room))
        try:
            plan = await self._plan(asked, room)
        except PlanError as error:  # what the stages before have come to is not lost for it
            return Finish("", note=error.message)
        return Dispatch(plan) if plan.subtasks else Finish("", dropped=plan.dropped)

    async def _plan(self, asked: Sequence[str], room: int) -> Plan:
        found: list[str] = []
        for again in (True, False):
            reply = await self._conversation.ask(response_format=plan_format())
            plan, found = _read(reply.content)
            if plan is not None:
                found = problems(plan, earlier=asked, room=room)
                if not found:
                    return plan
            if again:
                self._say(plan_problems(found))
        raise PlanError(f"the planner gave no plan that can be run: {'; '.join(found)}")

    def _say(self, text: str) -> None:
        self._conversation.say({"role": "user", "content": text})


def _read(text: str) -> tuple[Plan | None, list[str]]:
    """A plan out of a model's answer; a code fence around it is forgiven, prose is not."""
    body = text.strip()
    if body.startswith("```"):
        body = body.removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    try:
        return Plan.model_validate_json(body), []
    except ValidationError as error:
        if not body.startswith("{"):
            return None, [f"the answer is not a JSON object but begins with {body[:60]!r}"]
        return None, [
            f"{'.'.join(str(part) for part in e['loc']) or 'the answer'}: {e['msg']}"
            for e in error.errors(include_url=False, include_input=False)[:10]
        ]
