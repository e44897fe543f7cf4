"""`swarm run`: one task from the command line to its answer."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from swarm.errors import SwarmError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import anyio

    from swarm.cli.display import Display
    from swarm.config import RunConfig
    from swarm.result import RunResult

MODES = ("plan", "parl", "single")
AGGREGATES = ("auto", "text", "table", "vote")
SANDBOXES = ("docker", "bubblewrap", "process", "auto")
INTERRUPTED = 130
GRACE = 3.0  # seconds that a run has to end in order after the second signal

# Options whose name is that of a configuration key.
CONFIGURED = (
    "mode",
    "model",
    "planner_model",
    "subagent_model",
    "aggregator_model",
    "base_url",
    "max_agents",
    "concurrency",
    "max_steps",
    "max_critical_steps",
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
    parser.add_argument("--test", metavar="CMD", help="the gate: the command that the merged tree must pass")

    models = parser.add_argument_group("models")
    models.add_argument(
        "--mode",
        choices=MODES,
        help="plan (default): a planner splits the task; parl: an agent that delegates by tools; single: one agent",
    )
    models.add_argument(
        "--model", metavar="NAME", help="the model of all roles, or PROVIDER/MODEL; `embedded` needs no endpoint"
    )
    models.add_argument("--planner-model", metavar="NAME")
    models.add_argument("--subagent-model", metavar="NAME")
    models.add_argument("--aggregator-model", metavar="NAME")
    models.add_argument(
        "--base-url",
        metavar="URL",
        action="append",
        help="the OpenAI-compatible endpoint, such as http://host:8000/v1; again for each replica of it",
    )
    models.add_argument("--seed", type=int, metavar="N")
    tape = models.add_mutually_exclusive_group()
    tape.add_argument("--record", metavar="FILE", help="keep every exchange with the models in a new file")
    tape.add_argument(
        "--replay", metavar="FILE", help="take the answers from such a file, in their order; needs no endpoint"
    )

    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-agents", type=int, metavar="N", help="sub-agents of the whole run")
    limits.add_argument("--concurrency", type=int, metavar="N", help="sub-agents at work at once")
    limits.add_argument("--max-steps", type=int, metavar="N", help="model calls of one sub-agent")
    limits.add_argument("--max-critical-steps", type=int, metavar="N", help="steps of the longest way through the run")
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
    target.add_argument("--patch", metavar="FILE", help="write it to a file")

    parser.add_argument("--dry-run", action="store_true", help="show the plan, run no sub-agent")
    parser.add_argument("--yes", action="store_true", help="run the plan without asking on the terminal")
    parser.add_argument("--json", action="store_true", help="events as JSON lines, last the result")


def _names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip())


def run(args: argparse.Namespace) -> int:
    """Run the task; the exit code is the run's.

    Raises:
        SwarmError: the run could not be started.
    """
    _check_gate(args)
    task = _task(args.task)
    repo = _repository(args)

    import anyio

    from swarm.cli.deliver import check_targets
    from swarm.cli.open_files import allow_many_open_files
    from swarm.cli.stdio import complain
    from swarm.config import load_config
    from swarm.result import RunResult

    flags = {key: value for key in CONFIGURED if (value := getattr(args, key)) is not None}
    config = load_config(flags, os.environ, repo)
    check_targets(args, repo)
    allow_many_open_files()
    display, result = anyio.run(_run, task, config, repo, args)
    if result is None and display.view.result:  # it ended in order all the same
        result = RunResult.model_validate(display.view.result)
    if result is None:
        complain(_stopped_at_once(display))
        return INTERRUPTED
    return _finish(args, display, result, repo, config)


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


async def _run(
    task: str, config: RunConfig, repo: Path | None, args: argparse.Namespace
) -> tuple[Display, RunResult | None]:
    """The run and its display; None instead of a result where a second signal ended it at once."""
    import anyio

    from swarm.cli.approve import asker
    from swarm.cli.display import open_display
    from swarm.cli.stdio import complain, discard_output
    from swarm.runtime import Swarm

    stop = anyio.Event()

    def broken(error: OSError) -> None:
        discard_output()
        if not isinstance(error, BrokenPipeError):
            complain(f"swarm: standard output cannot be written: {error.strerror}")
        stop.set()

    display = open_display(json=args.json, broken=broken)
    result: RunResult | None = None
    failure: SwarmError | None = None
    async with anyio.create_task_group() as signals:
        running = anyio.CancelScope()
        await signals.start(_watch_signals, stop, running, display)
        with running:
            async with anyio.create_task_group() as drawing:
                drawing.start_soon(display.run)
                try:
                    async with Swarm(config=config) as swarm:
                        result = await swarm.run(
                            task,
                            repo=repo,
                            on_event=display.on_event,
                            stop=stop,
                            dry_run=args.dry_run,
                            approve=asker(args, config, display),
                        )
                except SwarmError as error:
                    failure = error  # raised below: by itself, not in a group
                finally:
                    display.close()
        signals.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return display, result


async def _watch_signals(stop: anyio.Event, scope: anyio.CancelScope, display: Display, *, task_status: Any) -> None:
    """The first signal asks the run to end; the second one ends it, in order if that is quick, else the process."""
    import signal
    import threading

    import anyio

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for _ in received:
            if stop.is_set():
                break
            stop.set()
            display.say("stopping: the run ends and is kept; once more to stop at once")
        scope.cancel()
        timer = threading.Timer(GRACE, _end_process, (display,))  # a thread: the event loop may be what is stuck
        timer.daemon = True
        timer.start()
        try:
            await anyio.sleep_forever()
        finally:
            timer.cancel()


def _end_process(display: Display) -> None:
    """End at once, whatever hangs. The children of bubblewrap die with it."""
    import select

    restore = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # the live screen hides the cursor
    data = f"{restore}{_stopped_at_once(display)}\n".encode()
    try:
        if select.select([], [2], [], 0)[1]:  # a terminal that is stopped must not hold this up too
            os.write(2, data)
    finally:
        os._exit(INTERRUPTED)


def _stopped_at_once(display: Display) -> str:
    from swarm.config import home

    run_id = display.view.run_id
    return "swarm: stopped at once" + (f"; the record so far: {home(os.environ) / 'runs' / run_id}" if run_id else "")


def _finish(args: argparse.Namespace, display: Display, result: RunResult, repo: Path | None, config: RunConfig) -> int:
    from swarm.cli.deliver import deliver, will_ask
    from swarm.cli.stdio import complain, tell
    from swarm.cli.summary import answer_text, plan_lines, summary_lines

    if display.view.error:
        complain("\n".join([f"swarm: {display.view.error}", *display.view.error_details]))
    gated, lines = config.test is not None, list[str]()
    asks = not args.dry_run and will_ask(args, result, repo)
    if not args.dry_run and not asks:  # first, as the envelope tells how it went
        result, lines = deliver(args, result, repo, gated=gated)
    if not args.json:
        plan = display.view.plans.get(display.view.stage) if args.dry_run else None
        if text := "\n".join(plan_lines(plan, config)) if plan else answer_text(result):
            tell(text)
        complain("\n".join(summary_lines(result, display.view, config, dry_run=args.dry_run)))
    if asks:
        result, lines = deliver(args, result, repo, gated=gated)
    for line in lines:
        complain(line)
    if args.json:
        tell(f'{{"type":"result",{result.model_dump_json()[1:]}')
    return result.exit_code
