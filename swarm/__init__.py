"""swarm: one task becomes a swarm of sandboxed agents and one tested answer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm.config import RunConfig as RunConfig
    from swarm.errors import SwarmError as SwarmError
    from swarm.events import Event as Event
    from swarm.result import RunResult as RunResult
    from swarm.runtime import Swarm as Swarm
    from swarm.tools.registry import tool as tool
    from swarm.types import Outcome as Outcome
    from swarm.types import RunStatus as RunStatus

__version__ = "0.1.0"

_HOME = {
    "Event": "swarm.events",
    "Outcome": "swarm.types",
    "RunConfig": "swarm.config",
    "RunResult": "swarm.result",
    "RunStatus": "swarm.types",
    "Swarm": "swarm.runtime",
    "SwarmError": "swarm.errors",
    "tool": "swarm.tools.registry",
}

__all__ = ["Event", "Outcome", "RunConfig", "RunResult", "RunStatus", "Swarm", "SwarmError", "tool"]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used: `import swarm` itself costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'swarm' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
