"""`swarm acp`: an agent for editors that speak the Agent Client Protocol."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any, cast

from swarm.cli.options import add_limits, add_models, add_sandboxes, flags_of

if TYPE_CHECKING:
    from swarm.config import RunConfig


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "acp",
        help="be the agent of an editor",
        description="Speak the Agent Client Protocol on standard input and output: an editor starts this, and each "
        "prompt is a run on the repository that it has open. A patch is applied only when its user says so.",
        allow_abbrev=False,
    )
    add_models(parser)
    limits = add_limits(parser)
    limits.add_argument("--budget-usd", type=float, metavar="X", help="dollars of one prompt at most")
    limits.add_argument("--budget-tokens", type=int, metavar="N", help="tokens of one prompt at most")
    add_sandboxes(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until the editor goes.

    Raises:
        UsageError: the configuration is wrong, or the package `agent-client-protocol` is missing.
    """
    import anyio

    from swarm.config import load_config

    anyio.run(_serve, load_config(flags_of(args), os.environ))
    return 0


async def _serve(config: RunConfig) -> None:
    from swarm.cli.discovery import with_gate
    from swarm.cli.open_files import allow_many_open_files
    from swarm.errors import UsageError
    from swarm.serving.jobs import open_jobs

    try:
        import acp

        from swarm.serving.acp import SwarmAgent
    except ModuleNotFoundError as missing:
        if missing.name != "acp":
            raise
        raise UsageError(
            "the package agent-client-protocol is not installed", remedy="pip install 'swarm[acp]'"
        ) from None
    allow_many_open_files()
    async with open_jobs(config, find_gate=with_gate) as jobs:
        agent = SwarmAgent(jobs, config)
        await acp.run_agent(cast("acp.Agent", agent))  # it lacks what its capabilities do not name
