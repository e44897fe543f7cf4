"""`swarm run`: one task from the command line to its answer."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from swarm.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import anyio

    from swarm.cli.display import Display
    from swarm.result import RunResult
    from swarm.runtime import Swarm

MODES = ("plan", "parl", "single")
AGGREGATES = ("auto", "text", "table", "vote")
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


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "run",
        help="run a task",
        description="Split a task into sub-tasks, run them in parallel in sandboxes, merge and test what comes back.",
        allow_abbrev=False,
    )
    parser.add_argument("task", metavar="TASK", help="what is to be done; - reads standard input, @FILE a file")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--repo", metavar="PATH", help="the git repository (default: the one around this folder)")
    where.add_argument("--no-repo", action="store_true", help="a task without a repository")
    gate = parser.add_mutually_exclusive_group()
    gate.add_argument(
        "--test", metavar="CMD", help="the gate: the command that the merged tree must pass (default: found by itself)"
    )
    gate.add_argument("--no-test", action="store_true", help="no gate, whatever the repository holds")

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
    models.add_argument("--seed", type=int, metavar="N", help="sent with each model call, for models that take one")
    models.add_argument("--prompts", metavar="DIR", help="your own system prompts, in place of ours of the same name")
    tape = models.add_mutually_exclusive_group()
    tape.add_argument("--record", metavar="FILE", help="keep every exchange with the models in a new file")
    tape.add_argument(
        "--replay", metavar="FILE", help="take the answers from such a file, in their order; needs no endpoint"
    )

    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-agents", type=int, metavar="N", help="sub-agents of the whole run")
    limits.add_argument("--max-depth", type=int, metavar="N", help="parl: levels of sub-agents, 1 (default) to 4")
    limits.add_argument("--concurrency", type=int, metavar="N", help="sub-agents at work at once")
    limits.add_argument("--repairs", type=int, metavar="N", help="tries to repair a patch that was not merged")
    limits.add_argument("--max-steps", type=int, metavar="N", help="model calls of one sub-agent")
    limits.add_argument("--max-critical-steps", type=int, metavar="N", help="steps of the longest way through the run")
    limits.add_argument("--context-tokens", type=int, metavar="N", help="window of the models, prompt and answer")
    limits.add_argument("--budget-usd", type=float, metavar="X", help="dollars for the whole run")
    limits.add_argument("--budget-tokens", type=int, metavar="N", help="tokens for the whole run")
    limits.add_argument("--timeout", type=float, metavar="SECONDS", help="wall time for the whole run")

    limits.add_argument("--max-in-flight", type=int, metavar="N", help="model calls at once to one endpoint and key")
    limits.add_argument(
        "--park", type=float, metavar="SECONDS", help="wait out a used-up quota or a wrong key: try again so often"
    )
    limits.add_argument("--ask-usd", type=float, metavar="X", help="on a terminal, ask before a stage beyond X dollars")

    answer = parser.add_argument_group("the answer")
    answer.add_argument(
        "--aggregate", choices=AGGREGATES, help="what the results become (default: by their form a text or a table)"
    )
    answer.add_argument(
        "--table-key", metavar="COLUMNS", type=_names, help="columns by which rows of a table are the same: a,b"
    )

    sandbox = parser.add_argument_group("sandbox")
    sandbox.add_argument("--sandbox", choices=SANDBOXES, help="where tools run (default: the strongest there is)")
    sandbox.add_argument(
        "--image", metavar="NAME", help="image of the sandboxes; `host`: this machine's system folders"
    )
    sandbox.add_argument(
        "--network",
        metavar="HOSTS",
        type=_names,
        action="extend",
        help="let sandboxes reach these hosts and no others: a.org,*.b.org,c.org:8443 (repeatable; default: none)",
    )

    tools = parser.add_argument_group("tools (outside the sandbox, but for --tools)")
    tools.add_argument(
        "--tools",
        metavar="NAMES",
        type=_names,
        help="further tools: apply_patch, python, or package.module:name of yours",
    )
    tools.add_argument("--mcp", metavar="FILE", help="MCP servers (mcpServers JSON); they run on this machine, as you")
    tools.add_argument("--web-hosts", metavar="HOSTS", type=_names, help="let web_fetch read these: a.org,*.b.org")

    patch = parser.add_argument_group("the patch (default: ask on a terminal, else only write it)")
    target = patch.add_mutually_exclusive_group()
    target.add_argument("--apply", action="store_true", help="apply it to the checkout unless the gate failed")
    target.add_argument("--branch", metavar="NAME", help="put it on a new branch")
    target.add_argument("--patch", metavar="FILE", help="write it to a file; `-` is standard output")

    parser.add_argument("--dry-run", action="store_true", help="show the plan and what it may cost, run no sub-agent")
    parser.add_argument("--yes", action="store_true", help="run the plan without asking on the terminal")
    parser.add_argument("--json", action="store_true", help="events as JSON lines, last the result")


def _names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip())


def run(args: argparse.Namespace) -> int:
    """Run the task; the exit code is the run's.

    Raises:
        SwarmError: the run could not be started.
    """
    from swarm.cli.in_order import ends_in_order
    from swarm.cli.last_line import always_an_envelope

    with always_an_envelope(json=args.json), ends_in_order():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    _check_gate(args)
    task = _task(args.task)
    repo = _repository(args)

    from pathlib import Path

    from swarm.cli.approve import Wish, asker
    from swarm.cli.discovery import with_gate
    from swarm.cli.live import live
    from swarm.cli.targets import check_targets
    from swarm.config import load_config

    flags = {key: value for key in CONFIGURED if (value := getattr(args, key)) is not None}
    if args.no_test:
        flags |= {"test": None, "find_test": False}
    config = load_config(flags, os.environ, repo)
    check_targets(args, repo)
    config = with_gate(config, repo, Path(args.repo or "."))

    wish = Wish(repo) if repo is not None else None

    async def work(swarm: Swarm, display: Display, stop: anyio.Event) -> RunResult:
        asks = asker(args, swarm.config, display, wish)
        return await swarm.run(
            task,
            repo=repo,
            on_event=display.on_event,
            stop=stop,
            dry_run=args.dry_run,
            approve=asks,
            controls=display.controls,
        )

    while True:
        code = live(args, config, repo, work, again=lambda: wish is not None and wish.test is not None)
        if wish is None or wish.test is None:
            return code
        config = config.model_copy(update={"test": wish.test or None, "test_found": ""})
        wish.test = None


def _check_gate(args: argparse.Namespace) -> None:
    if args.test is not None and not args.test.strip():
        raise UsageError("--test is empty", remedy="give a command, or leave it out")
    if args.test is not None and args.no_repo:
        raise UsageError("--test needs a repository", remedy="leave out --no-repo or --test")


def _task(given: str) -> str:
    if given == "-":
        data = sys.stdin.buffer.read()
    elif given.startswith("@"):
        try:
            with open(given[1:], "rb") as file:
                data = file.read()
        except OSError as error:
            raise UsageError(f"{given[1:]}: {error.strerror}", remedy="give the task's file as @FILE") from None
    else:
        data = given.encode("utf-8", "surrogateescape")
    try:
        task = data.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("the task is not UTF-8 text", remedy="save it as UTF-8") from None
    if not task.strip():
        raise UsageError("the task is empty", remedy='say what is to be done: swarm run "Fix the failing tests"')
    return task


def _repository(args: argparse.Namespace) -> Path | None:
    if args.no_repo:
        return None
    from pathlib import Path

    import anyio

    from swarm.sandboxes.git.workspace import find_repository

    return anyio.run(find_repository, Path(args.repo or "."))
