"""swarm: one task becomes a swarm of sandboxed agents and one tested answer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm.agents.desk import Desk as Desk
    from swarm.agents.desk import Dialogue as Dialogue
    from swarm.approval import Question as Question
    from swarm.calls import ModelReply as ModelReply
    from swarm.calls import ModelRequest as ModelRequest
    from swarm.config import RunConfig as RunConfig
    from swarm.errors import EndpointError as EndpointError
    from swarm.errors import EndpointFault as EndpointFault
    from swarm.errors import SwarmError as SwarmError
    from swarm.events import Event as Event
    from swarm.parts import Parts as Parts
    from swarm.protocols import Sandbox as Sandbox
    from swarm.result import RunResult as RunResult
    from swarm.runtime import Swarm as Swarm
    from swarm.scheduling.controls import Controls as Controls
    from swarm.stages import Dispatch as Dispatch
    from swarm.stages import Finish as Finish
    from swarm.stages import Harvest as Harvest
    from swarm.stages import Merged as Merged
    from swarm.stages import RunState as RunState
    from swarm.tools.registry import tool as tool
    from swarm.types import AgentResult as AgentResult
    from swarm.types import ExecResult as ExecResult
    from swarm.types import Outcome as Outcome
    from swarm.types import Plan as Plan
    from swarm.types import RunStatus as RunStatus
    from swarm.types import SandboxRequest as SandboxRequest
    from swarm.types import SubTask as SubTask
    from swarm.types import ToolResult as ToolResult
    from swarm.types import Usage as Usage

__version__ = "0.1.0"

_HOME = {
    "AgentResult": "swarm.types",
    "Controls": "swarm.scheduling.controls",
    "Desk": "swarm.agents.desk",
    "Dialogue": "swarm.agents.desk",
    "Dispatch": "swarm.stages",
    "EndpointError": "swarm.errors",
    "EndpointFault": "swarm.errors",
    "Event": "swarm.events",
    "ExecResult": "swarm.types",
    "Finish": "swarm.stages",
    "Harvest": "swarm.stages",
    "Merged": "swarm.stages",
    "ModelReply": "swarm.calls",
    "ModelRequest": "swarm.calls",
    "Outcome": "swarm.types",
    "Parts": "swarm.parts",
    "Plan": "swarm.types",
    "Question": "swarm.approval",
    "RunConfig": "swarm.config",
    "RunResult": "swarm.result",
    "RunState": "swarm.stages",
    "RunStatus": "swarm.types",
    "Sandbox": "swarm.protocols",
    "SandboxRequest": "swarm.types",
    "SubTask": "swarm.types",
    "Swarm": "swarm.runtime",
    "SwarmError": "swarm.errors",
    "ToolResult": "swarm.types",
    "Usage": "swarm.types",
    "tool": "swarm.tools.registry",
}

__all__ = [
    "AgentResult",
    "Controls",
    "Desk",
    "Dialogue",
    "Dispatch",
    "EndpointError",
    "EndpointFault",
    "Event",
    "ExecResult",
    "Finish",
    "Harvest",
    "Merged",
    "ModelReply",
    "ModelRequest",
    "Outcome",
    "Parts",
    "Plan",
    "Question",
    "RunConfig",
    "RunResult",
    "RunState",
    "RunStatus",
    "Sandbox",
    "SandboxRequest",
    "SubTask",
    "Swarm",
    "SwarmError",
    "ToolResult",
    "Usage",
    "tool",
]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used: `import swarm` itself costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'swarm' has no attribute {name!r}")
    from swarm.loading import lightly

    with lightly():
        found: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = found  # from now on it is there
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
