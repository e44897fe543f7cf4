"""The composition root of somebody else's agents: what the configuration names becomes a worker, and what it needs."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from swarm.config import HOST_IMAGE, RunConfig
from swarm.errors import UsageError
from swarm.executors.worker import Worker
from swarm.foreign import named_worker
from swarm.journal.artifacts import Artifacts


async def shown_for_worker(config: RunConfig) -> tuple[Path, ...]:
    """What of this machine its sandboxes must show, read-only."""
    if config.worker is None:
        return ()
    from swarm.sandboxes.toolchain import of_program

    agent = named_worker(config.worker, config.workers).agent
    shown = dict.fromkeys((*agent.toolchain, *(await of_program(agent.program))[0], *agent.files))
    return tuple(path for path in shown if not any(path != other and path.is_relative_to(other) for other in shown))


async def hired_worker(config: RunConfig, prompt: str, artifacts: Artifacts) -> Worker | None:
    """Somebody else's agent that does the sub-tasks, if the configuration names one. `prompt`: what it is told first.

    Raises:
        UsageError: a package is missing that it takes to speak to it.
    """
    if config.worker is None:
        return None
    from swarm.sandboxes.toolchain import of_program
    from swarm.workers.hired import HiredWorker

    named = named_worker(config.worker, config.workers)
    if named.agent.kind == "acp" and find_spec("acp") is None:
        raise UsageError(
            "the package agent-client-protocol is not installed", remedy="pip install 'swarm[acp]', or use command:"
        )
    folders = () if config.image != HOST_IMAGE else (await of_program(named.agent.program))[1]
    return HiredWorker(named, prompt, artifacts, os.pathsep.join(folders))
