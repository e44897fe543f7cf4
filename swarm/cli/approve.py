"""Asks the person at the terminal before a run spends: about its plan, and about going on over `--ask-usd`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import anyio

from swarm.cli.stdio import complain
from swarm.cli.summary import plan_lines
from swarm.config import RunConfig

if TYPE_CHECKING:
    from swarm.approval import Approve, Question
    from swarm.cli.display import Display


def asker(args: argparse.Namespace, config: RunConfig, display: Display) -> Approve | None:
    """What answers the run's questions; None where nobody is asked: with `--yes`, `--json`, or without a terminal."""
    if args.yes or args.json or args.dry_run or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    async def approve(question: Question) -> bool:
        if not _is_asked(question, config):
            return True
        async with display.aside():
            if question.kind == "plan" and question.plan is not None:
                complain("\n".join(plan_lines(question.plan, config, question.preview)))
            print(f"{question.text[0].upper()}{question.text[1:]} [y/N] ", end="", file=sys.stderr, flush=True)
            await anyio.wait_readable(sys.stdin)  # a terminal gives whole lines: reading one will not block
            answer = sys.stdin.readline()
            if not answer.endswith("\n"):  # the end of input
                print(file=sys.stderr)
        return answer.strip().lower() in ("y", "yes")

    return approve


def _is_asked(question: Question, config: RunConfig) -> bool:
    """The first plan is shown; later ones go on from it. The patch is asked about when it is there (`deliver`)."""
    if question.kind == "plan":
        return question.stage == 1 and config.mode != "single"
    return question.kind == "spending"
