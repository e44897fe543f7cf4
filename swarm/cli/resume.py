"""`swarm resume`: goes on with a run that was killed, stopped, or ended for want of budget or of a machine."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from swarm.cli.options import add_place, add_targets
from swarm.cli.runs import RUN_HELP

if TYPE_CHECKING:
    from pathlib import Path

    import anyio

    from swarm.cli.display import Display
    from swarm.cli.last_line import Known
    from swarm.cli.live import Tell
    from swarm.result import RunResult
    from swarm.runtime import Swarm

GIVEN = (
    *("budget_usd", "budget_tokens", "max_steps", "max_critical_steps", "timeout", "concurrency", "base_url"),
    *("executor", "ray_address"),
)


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "resume",
        help="go on with a run that was killed or stopped",
        description="Go on with a run that was killed or stopped, or that ended for want of budget or of a machine. "
        "What was done is not done again, and no answered model call is paid again.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    limits = parser.add_argument_group("limits, where they are to be others than before")
    limits.add_argument("--budget-usd", type=float, metavar="X", help="dollars for the whole run, spent ones included")
    limits.add_argument("--budget-tokens", type=int, metavar="N", help="tokens for the whole run, used ones included")
    limits.add_argument("--max-steps", type=int, metavar="N", help="model calls of one sub-agent")
    limits.add_argument("--max-critical-steps", type=int, metavar="N", help="steps of the longest way, made ones too")
    limits.add_argument("--timeout", type=float, metavar="SECONDS", help="wall time from now on")
    limits.add_argument("--concurrency", type=int, metavar="N", help="sub-agents at work at once")
    limits.add_argument("--base-url", metavar="URL", action="append", help="where the endpoint is now")
    add_place(parser)
    add_targets(parser)
    parser.add_argument("--trust", action="store_true", help="also one that was begun elsewhere: its record is obeyed")
    parser.add_argument("--yes", action="store_true", help="ask nothing on the terminal")
    parser.add_argument("--otel", action="store_true", help="send spans where OTEL_EXPORTER_OTLP_ENDPOINT says")
    parser.add_argument("--json", action="store_true", help="events from now on as JSON lines, last the result")


def run(args: argparse.Namespace) -> int:
    """Go on with the run; the exit code is its.

    Raises:
        SwarmError: there is no such run, or it cannot be gone on with.
    """
    from swarm.cli.history import find_run
    from swarm.cli.in_order import ends_in_order
    from swarm.cli.last_line import always_an_envelope
    from swarm.config import home

    with always_an_envelope(json=args.json, run_id=args.run) as of, ends_in_order():
        of.folder = find_run(home(os.environ) / "runs", args.run)
        return _go_on(args, of.folder, of)


def _go_on(args: argparse.Namespace, folder: Path, of: Known) -> int:
    from pathlib import Path

    from swarm.cli.approve import asker
    from swarm.cli.live import live
    from swarm.cli.stdio import complain
    from swarm.cli.targets import check_targets
    from swarm.journal.reader import Recorded, hold_journal
    from swarm.resuming import config_of, require_own, resumable

    with hold_journal(folder / "events.jsonl") as held:
        past = held.past
        events = of.earlier = Recorded(folder / "events.jsonl")
        started = resumable(past, folder)
        if not args.trust:
            require_own(held, folder, os.environ)
    config = config_of(past, {key: value for key in GIVEN if (value := getattr(args, key)) is not None}, os.environ)
    repo = Path(started.repo) if started.repo else None
    past.course.widen(config.model_dump())
    args.dry_run = started.dry_run
    check_targets(args, repo, folder / "repo.git")
    if past.course.over:
        complain(f"swarm: {folder.name} came to its end; this is its result")

    async def work(swarm: Swarm, display: Display, tell: Tell, stop: anyio.Event) -> RunResult:
        asks = asker(args, config, display)
        return await swarm.resume(
            str(folder),
            config=config,
            on_event=tell,
            stop=stop,
            approve=asks,
            controls=display.controls,
            trust=args.trust,
        )

    return live(args, config, repo, work, events, known=of)
