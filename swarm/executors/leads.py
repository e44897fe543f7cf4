"""What an attempt is made with that may have sub-agents of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from swarm.agents.agent import ToolBox
from swarm.agents.checkpoints import Keeper
from swarm.agents.conversation import Conversation
from swarm.protocols import Executor, Sandbox, WorkingCopy
from swarm.types import AgentSpec, JsonObject
from swarm.values import value


@value(frozen=True, slots=True)
class Post:
    """Where an agent stands that leads others: who makes the attempts of its n-th group, its conversation, its working
    copy (None without files) with the sandbox over it, and what keeps its tree."""

    executor: Callable[[int], Executor]
    conversation: Conversation
    keeper: Keeper
    copy: WorkingCopy | None
    sandbox: Sandbox


class Leads(Protocol):
    """Who may have sub-agents of its own, and by which tools."""

    def schemas(self, spec: AgentSpec) -> Sequence[JsonObject]:
        """The tools for delegation that an attempt has; none where it may not."""
        ...

    def lead(self, spec: AgentSpec, tools: ToolBox, post: Post) -> ToolBox:
        """All tools of such an attempt: its own, and those."""
        ...
