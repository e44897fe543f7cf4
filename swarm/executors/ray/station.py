"""What an outpost makes attempts with: opened on its node, by whoever knows how to put it together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from swarm.agents.agent import ToolKit
from swarm.agents.checkpoints import Pace
from swarm.agents.context import ContextPolicy
from swarm.agents.line import Line
from swarm.executors.ray.messages import Supplies
from swarm.executors.ray.relay import Relay
from swarm.places.pool import Pool


@dataclass(frozen=True, slots=True)
class Station:
    """What attempts are made with. `learn` takes commits that come from home, by the pack that they are in; `told` what
    is said about the admission to an endpoint, by its channel."""

    pool: Pool
    line: Line
    tools: ToolKit
    context: ContextPolicy
    slots: int
    learn: Callable[[bytes], Awaitable[None]]
    told: Callable[[str, Any], None]
    notices: tuple[str, ...] = ()
    pace: Pace = field(default_factory=Pace)


OpenStation = Callable[[Supplies, Relay], AbstractAsyncContextManager[Station]]
"""Opens one. It travels by its name."""
