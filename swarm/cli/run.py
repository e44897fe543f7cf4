"""`swarm run`: one task from the command line to its answer."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from swarm.cli.options import add_limits, add_models, add_sandboxes, add_targets, flags_of, names
from swarm.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import anyio

    from swarm.cli.display import Display
    from swarm.cli.last_line import Known
    from swarm.cli.live import Tell
    from swarm.result import RunResult
    from swarm.runtime import Swarm

AGGREGATES = ("auto", "text", "table", "vote")


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
    parser.add_argument(
        "--attach",
        metavar="PATH",
        nargs="+",
        action="extend",
        default=[],
        help="behind TASK: files and folders to answer from, with sources: text, Markdown, HTML, PDF, PNG, JPEG",
    )
    gate = parser.add_mutually_exclusive_group()
    gate.add_argument(
        "--test", metavar="CMD", help="the gate: the command that the merged tree must pass (default: found by itself)"
    )
    gate.add_argument("--no-test", action="store_true", help="no gate, whatever the repository holds")

    models = add_models(parser)
    models.add_argument("--seed", type=int, metavar="N", help="sent with each model call, for models that take one")
    tape = models.add_mutually_exclusive_group()
    tape.add_argument("--record", metavar="FILE", help="keep every exchange with the models in a new file")
    tape.add_argument(
        "--replay", metavar="FILE", help="take the answers from such a file, in their order; needs no endpoint"
    )

    limits = add_limits(parser)
    limits.add_argument("--budget-usd", type=float, metavar="X", help="dollars for the whole run (default: no limit)")
    limits.add_argument("--budget-tokens", type=int, metavar="N", help="tokens for the whole run (default: no limit)")
    limits.add_argument("--ask-usd", type=float, metavar="X", help="on a terminal, ask before a stage beyond X dollars")

    answer = parser.add_argument_group("the answer")
    answer.add_argument(
        "--aggregate", choices=AGGREGATES, help="what the results become (default: by their form a text or a table)"
    )
    answer.add_argument(
        "--table-key", metavar="COLUMNS", type=names, help="columns by which rows of a table are the same: a,b"
    )

    add_sandboxes(parser)

    add_targets(parser)

    parser.add_argument("--dry-run", action="store_true", help="show the plan and what it may cost, run no sub-agent")
    parser.add_argument("--yes", action="store_true", help="run the plan without asking on the terminal")
    parser.add_argument("--otel", action="store_true", help="send spans where OTEL_EXPORTER_OTLP_ENDPOINT says")
    parser.add_argument("--json", action="store_true", help="events as JSON lines, last the result")


def run(args: argparse.Namespace) -> int:
    """Run the task; the exit code is the run's.

    Raises:
        SwarmError: the run could not be started.
    """
    from swarm.cli.in_order import ends_in_order
    from swarm.cli.last_line import always_an_envelope

    with always_an_envelope(json=args.json) as known, ends_in_order():
        return _run(args, known)


def _run(args: argparse.Namespace, known: Known) -> int:
    _check_gate(args)
    task = _task(args.task)
    repo = _repository(args)

    from pathlib import Path

    from swarm.cli.approve import Wish, asker
    from swarm.cli.discovery import with_gate
    from swarm.cli.live import live
    from swarm.cli.stdio import complain
    from swarm.cli.targets import check_targets
    from swarm.cli.text import line
    from swarm.config import load_config
    from swarm.models.pricing import outdone

    flags = flags_of(args)
    if args.no_test:
        flags |= {"test": None, "find_test": False}
    config = load_config(flags, os.environ, repo)
    check_targets(args, repo)
    config = with_gate(config, repo, Path(args.repo or "."))
    for name in outdone(config, os.environ):
        complain(f"swarm: {repo}/swarm.toml names a price of {line(name)}, which is known otherwise: it does not count")

    wish = Wish(repo) if repo is not None else None

    async def work(swarm: Swarm, display: Display, tell: Tell, stop: anyio.Event) -> RunResult:
        asks = asker(args, swarm.config, display, wish)
        return await swarm.run(
            task,
            repo=repo,
            on_event=tell,
            stop=stop,
            dry_run=args.dry_run,
            approve=asks,
            controls=display.controls,
            attach=args.attach,
        )

    def another() -> bool:
        return wish is not None and wish.test is not None

    while True:
        code = live(args, config, repo, work, again=another, known=known)
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
