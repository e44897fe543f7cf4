"""Merges the texts of a stage into one answer, by a model where there is more than one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio

from swarm.conversation import Conversation, Line
from swarm.errors import BudgetExhausted, EndpointError
from swarm.events import AgentStarted, Notice
from swarm.prompting import merge_request, system_prompt
from swarm.stages import Merged
from swarm.stopping import unless_stopped
from swarm.trajectory import open_trajectory, sha256
from swarm.types import AgentResult, Outcome, Role


class TextAggregator:
    """One call to the aggregator's model. `stop` ends it early; the results are then given as they came."""

    def __init__(self, task: str, line: Line, parent: str, stop: anyio.Event) -> None:
        self._task = task
        self._line = line
        self._parent = parent
        self._stop = stop
        self._stage = 0

    async def merge(self, results: Sequence[AgentResult], titles: Mapping[str, str], onto: str | None) -> Merged:
        self._stage += 1
        useful = [result for result in results if result.keep]
        if len(useful) < 2:
            return Merged(text=useful[0].text if useful else _side_by_side(results, titles))
        try:
            text = await unless_stopped(self._stop, lambda: self._ask(useful, titles))
            return Merged(text=text or _side_by_side(useful, titles))
        except (EndpointError, BudgetExhausted) as error:
            self._line.sink.emit(Notice(level="warning", message=f"results were not merged by a model: {error}"))
            return Merged(text=_side_by_side(useful, titles))

    async def _ask(self, results: Sequence[AgentResult], titles: Mapping[str, str]) -> str:
        system = system_prompt("aggregator")
        started = AgentStarted(
            trajectory_id=f"aggregator-{self._stage}",
            role=Role.AGGREGATOR,
            name="aggregator",
            trainable=False,
            depth=1,
            parent_trajectory_id=self._parent,
            stage=self._stage,
            model=self._line.service.name,
            system_prompt_sha256=sha256(system),
        )
        async with open_trajectory(self._line.sink, started) as trajectory:
            messages = [
                {"role": "system", "content": system},
                {"role": "user", "content": merge_request(self._task, results, dict(titles))},
            ]
            conversation = Conversation(self._line, trajectory.id, Role.AGGREGATOR, messages)
            reply = await conversation.ask()
            trajectory.steps, trajectory.usage = conversation.steps, conversation.usage
            trajectory.end(Outcome.COMPLETED, "answered", reply.content)
        return reply.content.strip()


def _side_by_side(results: Sequence[AgentResult], titles: Mapping[str, str]) -> str:
    return "\n\n".join(f"## {titles[r.subtask_id]} ({r.outcome})\n\n{r.text}" for r in results)
