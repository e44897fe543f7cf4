"""Who does a sub-task in the place of our own loop: somebody else's agent, in the attempt's sandbox."""

from __future__ import annotations

from typing import Protocol

from swarm.agents.agent import LoopEnd
from swarm.agents.conversation import Conversation
from swarm.agents.trajectory import Trajectory
from swarm.protocols import Sandbox
from swarm.types import AgentSpec
from swarm.values import value


@value(frozen=True, slots=True)
class Errand:
    """One attempt, as it is handed to such an agent. Its model calls go through `conversation`, which holds the budget
    of the attempt and tells the journal."""

    spec: AgentSpec
    sandbox: Sandbox
    conversation: Conversation
    trajectory: Trajectory


class Worker(Protocol):
    """Somebody else's agent."""

    @property
    def name(self) -> str:
        """As the record calls it."""
        ...

    async def work(self, errand: Errand) -> LoopEnd:
        """Let it do the sub-task. The work's failure is a value; nothing of it runs any more when this returns.

        Raises:
            MachineError: the sandbox, or the endpoint for all calls to come.
        """
        ...
