"""Mode `plan`: a model answers a plan by structured output, and plans again with what came back."""

from __future__ import annotations

from pydantic import ValidationError

from swarm.conversation import Conversation
from swarm.errors import PlanError
from swarm.plan_graph import problems
from swarm.prompting import plan_format, plan_problems, planner_request, stage_report
from swarm.stages import Dispatch, Finish, RunState
from swarm.types import Outcome, Plan


class PlanOrchestrator:
    """Asks for one plan a stage; an invalid one goes back once with the reasons.

    `conversation` holds the system prompt alone at first, and grows with every stage. At most `max_agents`
    sub-tasks may be asked for in all stages together.
    """

    def __init__(self, conversation: Conversation, max_agents: int) -> None:
        self._conversation = conversation
        self._max_agents = max_agents

    async def decide(self, state: RunState) -> Dispatch | Finish:
        if not state.stages:
            self._say(planner_request(state))
            plan = await self._plan(state)
            return Dispatch(plan) if plan.subtasks else Finish(plan.rationale)
        if _all_is_well(state):
            return Finish("")
        self._say(stage_report(state.stages[-1]))
        plan = await self._plan(state)
        return Dispatch(plan) if plan.subtasks else Finish("", dropped=plan.dropped)

    async def _plan(self, state: RunState) -> Plan:
        asked = [subtask.id for stage in state.stages for subtask in stage.plan.subtasks]
        room = self._max_agents - len(asked)
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


def _all_is_well(state: RunState) -> bool:
    last = state.stages[-1]
    good = all(result.outcome is Outcome.COMPLETED for result in last.results) and not last.merged.evicted
    return good and (last.gate is None or last.gate.passed)


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
