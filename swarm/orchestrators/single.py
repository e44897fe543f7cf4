"""Mode `single`: one agent does everything. The baseline that swarms are compared with."""

from __future__ import annotations

from swarm.prompts.messages import single_request
from swarm.stages import Dispatch, Finish, RunState
from swarm.types import Plan, SubTask


class SingleOrchestrator:
    """Hands the whole task to one agent, once."""

    async def decide(self, state: RunState) -> Dispatch | Finish:
        if state.stages:
            return Finish("")
        whole = SubTask(id="task", title="the whole task", instructions=single_request(state))
        return Dispatch(Plan(rationale="one agent, the whole task", subtasks=(whole,)))
