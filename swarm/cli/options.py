"""Options that commands which make runs have in common."""

from __future__ import annotations

import argparse
from typing import Any

MODES = ("plan", "parl", "single")
SANDBOXES = ("docker", "bubblewrap", "process", "auto")

# Options whose name is that of a configuration key.
CONFIGURED = (
    "mode",
    "model",
    "planner_model",
    "subagent_model",
    "aggregator_model",
    "base_url",
    "max_agents",
    "max_depth",
    "concurrency",
    "repairs",
    "max_steps",
    "max_critical_steps",
    "context_tokens",
    "budget_usd",
    "budget_tokens",
    "timeout",
    "max_in_flight",
    "park",
    "ask_usd",
    "aggregate",
    "table_key",
    "worker",
    "executor",
    "ray_address",
    "sandbox",
    "image",
    "network",
    "tools",
    "mcp",
    "web_hosts",
    "test",
    "seed",
    "prompts",
    "record",
    "replay",
)


def flags_of(args: argparse.Namespace) -> dict[str, Any]:
    """The keys of the configuration that were given."""
    return {key: value for key in CONFIGURED if (value := getattr(args, key, None)) is not None}


def names(given: str) -> tuple[str, ...]:
    """A list with commas."""
    return tuple(name.strip() for name in given.split(",") if name.strip())


def add_models(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Which models, and how they are asked; gives the group."""
    models = parser.add_argument_group("models")
    models.add_argument(
        "--mode",
        choices=MODES,
        help="plan (default): a planner splits the task; parl: an agent that delegates by tools; single: one agent",
    )
    models.add_argument(
        "--model", metavar="NAME", help="the model of all roles, or PROVIDER/MODEL; `embedded` needs no endpoint"
    )
    models.add_argument("--planner-model", metavar="NAME", help="that of the planner, or the orchestrator")
    models.add_argument("--subagent-model", metavar="NAME", help="that of the sub-agents")
    models.add_argument("--aggregator-model", metavar="NAME", help="that of who merges results")
    models.add_argument(
        "--base-url",
        metavar="URL",
        action="append",
        help="the OpenAI-compatible endpoint, such as http://host:8000/v1; again for each replica of it",
    )
    models.add_argument("--prompts", metavar="DIR", help="your own system prompts, in place of ours of the same name")
    return models


def add_limits(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """What a run may use, but for its budget; gives the group."""
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-agents", type=int, metavar="N", help="sub-agents of the whole run (default: 64)")
    limits.add_argument("--max-depth", type=int, metavar="N", help="parl: levels of sub-agents, 1 (default) to 4")
    limits.add_argument("--concurrency", type=int, metavar="N", help="sub-agents at work at once (default: 8)")
    limits.add_argument("--repairs", type=int, metavar="N", help="tries to repair an unmerged patch (default: 2)")
    limits.add_argument("--max-steps", type=int, metavar="N", help="model calls of one sub-agent (default: 100)")
    limits.add_argument(
        "--max-critical-steps",
        type=int,
        metavar="N",
        help="steps of the longest way through the run (default: no limit)",
    )
    limits.add_argument(
        "--context-tokens",
        type=int,
        metavar="N",
        help="window of the models, prompt and answer (default: as the endpoint tells)",
    )
    limits.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="wall time for the whole run (default: no limit)"
    )
    limits.add_argument(
        "--max-in-flight", type=int, metavar="N", help="model calls at once to one endpoint and key (default: 256)"
    )
    limits.add_argument(
        "--park",
        type=float,
        metavar="SECONDS",
        help="wait out a used-up quota or a wrong key, with a try every so many seconds (default: the run ends)",
    )
    return limits


def add_place(parser: argparse.ArgumentParser) -> None:
    """On which machines sub-agents work."""
    place = parser.add_argument_group("place")
    place.add_argument(
        "--executor", choices=("local", "ray"), help="where sub-agents work: here (default), or on a cluster by Ray"
    )
    place.add_argument(
        "--ray-address", metavar="ADDR", help="the cluster: HOST:PORT of its head, auto, or local (a Ray of our own)"
    )


def add_sandboxes(parser: argparse.ArgumentParser) -> None:
    """Who works, where tools run, and which there are."""
    add_place(parser)
    parser.add_argument(
        "--worker",
        metavar="AGENT",
        help="somebody else's agent for sub-tasks: acp:COMMAND, command:COMMAND with {task}, or a name of [workers]",
    )
    sandbox = parser.add_argument_group("sandbox")
    sandbox.add_argument("--sandbox", choices=SANDBOXES, help="where tools run (default: the strongest there is)")
    sandbox.add_argument(
        "--image", metavar="NAME", help="image of the sandboxes; `host` (default): this machine's system folders"
    )
    sandbox.add_argument(
        "--network",
        metavar="HOSTS",
        type=names,
        action="extend",
        help="let sandboxes reach these hosts and no others: a.org,*.b.org,c.org:8443 (repeatable; default: none)",
    )

    tools = parser.add_argument_group("tools (outside the sandbox, but for --tools)")
    tools.add_argument(
        "--tools",
        metavar="NAMES",
        type=names,
        help="further tools: apply_patch, python, or package.module:name of yours",
    )
    tools.add_argument("--mcp", metavar="FILE", help="MCP servers (mcpServers JSON); they run on this machine, as you")
    tools.add_argument("--web-hosts", metavar="HOSTS", type=names, help="let web_fetch read these: a.org,*.b.org")


def add_targets(parser: argparse.ArgumentParser) -> None:
    """Where the patch goes."""
    patch = parser.add_argument_group("the patch (default: ask on a terminal, else only write it)")
    target = patch.add_mutually_exclusive_group()
    target.add_argument("--apply", action="store_true", help="apply it to the checkout unless the gate failed")
    target.add_argument("--branch", metavar="NAME", help="put it on a new branch")
    target.add_argument("--patch", metavar="FILE", help="write it to a file; `-` is standard output")
