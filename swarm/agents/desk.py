"""What the parts of a run work with: the task, the record, and a recorded way to the model of their role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio

from swarm.agents.conversation import Conversation, Line
from swarm.agents.trajectory import open_trajectory, sha256
from swarm.calls import ModelReply
from swarm.config import RunConfig
from swarm.events import AgentStarted
from swarm.prompts.texts import Prompts, own_prompts
from swarm.protocols import EventSink
from swarm.types import JsonObject, Message, Outcome, Role

if TYPE_CHECKING:
    from swarm.documents.audit import Auditor


class Dialogue(Protocol):
    """A conversation with a model, which is recorded and paid out of the run's budget."""

    @property
    def trajectory_id(self) -> str:
        """Its name in the record."""
        ...

    @property
    def recorded(self) -> bool:
        """Whether the journal of a run that goes on holds the next answer."""
        ...

    def say(self, message: Message) -> None:
        """Add a message of the system, the user or a tool."""
        ...

    async def ask(self, tools: Sequence[JsonObject] = (), response_format: JsonObject | None = None) -> ModelReply:
        """The model's next message.

        Raises:
            BudgetExhausted: there is no room for another call.
            EndpointError: the call failed, and failed again as often as makes sense.
        """
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """One role's place in a run. `artifacts` is a folder of the run's; whoever works here gives way when `stop` is set.

    `parent` is the trajectory of the orchestrator, empty where there is none. `auditor` looks at what is said of
    attached documents, None where there are none.
    """

    run_id: str
    task: str
    config: RunConfig
    artifacts: Path
    stop: anyio.Event
    line: Line
    role: Role = Role.AGGREGATOR
    parent: str = ""
    prompts: Prompts = field(default_factory=own_prompts)
    auditor: Auditor | None = None

    @property
    def sink(self) -> EventSink:
        return self.line.sink

    @asynccontextmanager
    async def dialogue(self, name: str, system: str, stage: int = 0) -> AsyncIterator[Dialogue]:
        """A conversation that begins with a system prompt: a trajectory of its own, whose name is unique in the run."""
        name = self.line.past.name_for(name)
        started = AgentStarted(
            trajectory_id=name,
            role=self.role,
            name=self.role.value,
            trainable=False,
            depth=1,
            parent_trajectory_id=self.parent,
            stage=stage,
            model=self.line.service.name,
            system_prompt_sha256=sha256(system),
        )
        async with open_trajectory(self.sink, started) as trajectory:
            conversation = Conversation(self.line, name, self.role, [{"role": "system", "content": system}])
            try:
                yield conversation
            finally:
                trajectory.steps, trajectory.usage = conversation.steps, conversation.usage
            last = conversation.messages[-1]
            answer = str(last.get("content") or "") if last["role"] == "assistant" else ""
            trajectory.end(Outcome.COMPLETED if answer.strip() else Outcome.FAILED, "answered", answer)
