"""`swarm mcp`: an MCP server on standard input and output."""

from __future__ import annotations

import argparse
import os
from typing import Any

from swarm.cli.options import add_limits, add_models, add_sandboxes, flags_of


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "mcp",
        help="serve runs to an MCP client",
        description="Serve runs over the Model Context Protocol on standard input and output: a client starts, watches "
        "and collects them. Runs end in order when the client goes; `swarm resume` goes on with them.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--repos",
        metavar="DIR",
        action="append",
        help="where repositories may be that a client names (repeatable; default: the current folder)",
    )
    add_models(parser)
    limits = add_limits(parser)
    limits.add_argument("--budget-usd", type=float, metavar="X", help="dollars of one run at most")
    limits.add_argument("--budget-tokens", type=int, metavar="N", help="tokens of one run at most")
    add_sandboxes(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until the client goes.

    Raises:
        UsageError: the configuration is wrong, or the package `mcp` is missing.
    """
    import anyio

    from swarm.config import load_config

    config = load_config(flags_of(args), os.environ)
    anyio.run(_serve, config, args.repos or ["."])
    return 0


async def _serve(config: Any, repos: list[str]) -> None:
    from pathlib import Path

    from swarm.cli.discovery import with_gate
    from swarm.cli.open_files import allow_many_open_files
    from swarm.errors import UsageError
    from swarm.serving.jobs import open_jobs

    try:
        from swarm.serving.mcp import Desk, server_of
    except ModuleNotFoundError as missing:
        if missing.name != "mcp":
            raise
        raise UsageError("the package mcp is not installed", remedy="pip install 'swarm[mcp]'") from None
    allow_many_open_files()
    async with open_jobs(config, find_gate=with_gate) as jobs:
        await server_of(Desk(jobs, config, [Path(each) for each in repos])).run_stdio_async()
