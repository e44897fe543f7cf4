"""What the suites of `swarm eval` have in common: the runner's options, and its way from them to an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from swarm.cli.options import MODES, add_limits, add_models, add_sandboxes, flags_of, names
from swarm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from swarm.budgets.levels import Limits
    from swarm.config import RunConfig
    from swarm.evals.runner.evaluation import Halt, Watch
    from swarm.evals.runner.given import Given
    from swarm.evals.runner.whole import Asked, Evaluated
    from swarm.evals.suite import Suite

    Work = Callable[[Halt, Watch], Awaitable[Evaluated]]


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of an evaluation that makes runs."""
    what = _add_selection(parser)
    what.add_argument("--shuffle", action="store_true", help="in an order drawn with --seed; before --slice, --limit")
    what.add_argument("--epochs", type=_positive, default=1, metavar="N", help="trials of each instance (default: 1)")
    what.add_argument(
        "--seed", type=int, metavar="N", help="each trial has a seed made of it, which is sent with its model calls"
    )
    arms = parser.add_argument_group("arms: each instance is run in every combination")
    arms.add_argument("--modes", type=names, metavar="A,B", default=(), help=f"of {', '.join(MODES)}")
    arms.add_argument("--models", type=names, metavar="A,B", default=(), help="in place of --model")
    arms.add_argument(
        "--sizes", type=_sizes, metavar="N,M", default=(), help="agents at work at once in a run, such as 1,4,16,64"
    )
    pace = _add_pace(parser)
    pace.add_argument("--workers", type=_positive, default=4, metavar="N", help="runs at once (default: 4)")
    pace.add_argument("--budget-usd", type=float, dest="total_usd", metavar="X", help="dollars for the evaluation")
    pace.add_argument(
        "--budget-tokens", type=_positive, dest="total_tokens", metavar="N", help="tokens for the evaluation"
    )
    add_models(parser)
    limits = add_limits(parser)
    limits.description = "of one run"
    limits.add_argument("--run-budget-usd", type=float, dest="budget_usd", metavar="X", help="dollars for one run")
    limits.add_argument("--run-budget-tokens", type=int, dest="budget_tokens", metavar="N", help="tokens for one run")
    add_sandboxes(parser)


def add_grading_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of grading what was made elsewhere."""
    _add_selection(parser)
    _add_pace(parser)


def _add_selection(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    what = parser.add_argument_group("which instances")
    what.add_argument("--ids", type=names, metavar="A,B", default=(), help="these")
    what.add_argument(
        "--filter", metavar="REGEX", default="", help="those in whose id, or what is known of them, it is found"
    )
    what.add_argument("--slice", metavar="A:B", default="", help="this part of them, as in Python: 0:50, -10:")
    what.add_argument("--limit", type=_positive, metavar="N", help="at most so many")
    return what


def _add_pace(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    pace = parser.add_argument_group("the evaluation")
    pace.add_argument("--out", metavar="DIR", help="its folder; where one is there already it goes on")
    pace.add_argument("--graders", type=_positive, default=2, metavar="N", help="answers graded at once (default: 2)")
    pace.add_argument(
        "--tries", type=_positive, default=3, metavar="N", help="of a trial that the machine failed (default: 3)"
    )
    pace.add_argument("--json", action="store_true", help="a JSON object for each trial a line, last the whole")
    return pace


def run_suite(args: argparse.Namespace, make: Callable[[argparse.Namespace, RunConfig], Suite]) -> int:
    """Run and grade a suite; the exit code.

    Raises:
        SwarmError: it could not be begun, or a file of it cannot be written.
    """
    from swarm.cli.evals.foreground import foreground, with_envelope

    with with_envelope(json=args.json, folder=args.out or ""):
        import os

        from swarm.budgets.levels import Limits
        from swarm.config import load_config
        from swarm.evals.runner.arms import ways
        from swarm.evals.runner.whole import evaluate

        _refuse(args)
        config = load_config(flags_of(args), os.environ)
        suite = make(args, config)
        arms = ways(config, args.modes, args.models, args.sizes)
        asked = _asked(args, Limits(args.total_tokens, args.total_usd))

        async def work(halt: Halt, watch: Watch) -> Evaluated:
            return await evaluate(suite, arms, _folder(args), asked, halt, watch)

        return foreground(work, json=args.json)


def grade_given(args: argparse.Namespace, suite: Suite, given: Sequence[Given], model: str = "") -> int:
    """Grade answers that were made elsewhere, by `model`; the exit code. Raises as `run_suite`."""
    from swarm.cli.evals.foreground import foreground, with_envelope

    with with_envelope(json=args.json, folder=args.out or ""):
        from swarm.evals.runner.whole import grade_given as grade

        _refuse(args)
        asked = _asked(args)

        async def work(halt: Halt, watch: Watch) -> Evaluated:
            return await grade(suite, given, _folder(args), asked, halt, watch, model)

        return foreground(work, json=args.json)


def _refuse(args: argparse.Namespace) -> None:
    if not args.out:
        raise UsageError("--out is missing", remedy="name the folder of the evaluation: --out DIR")
    if getattr(args, "sizes", ()) and args.concurrency is not None:
        raise UsageError("--sizes and --concurrency both say how many agents work at once", remedy="give one of them")
    if wrong := [mode for mode in getattr(args, "modes", ()) if mode not in MODES]:
        raise UsageError(f"--modes: there is no mode {wrong[0]}", remedy=f"choose of {', '.join(MODES)}")


def _folder(args: argparse.Namespace) -> Path:
    from pathlib import Path

    return Path(args.out)


def _asked(args: argparse.Namespace, limits: Limits | None = None) -> Asked:
    from swarm.budgets.levels import Limits
    from swarm.evals.runner.evaluation import Width
    from swarm.evals.runner.selection import Selection
    from swarm.evals.runner.whole import Asked
    from swarm.rl.rollout.keeping import Patience

    seed = getattr(args, "seed", None)
    shuffled = (seed or 0) if getattr(args, "shuffle", False) else None
    return Asked(
        selection=Selection(args.ids, args.filter, args.slice, args.limit, shuffled),
        epochs=getattr(args, "epochs", 1),
        seed=seed,
        width=Width(getattr(args, "workers", 1), args.graders),
        patience=Patience(tries=args.tries),
        limits=limits or Limits(),
        command=("swarm", *sys.argv[1:]),
    )


def _positive(given: str) -> int:
    value = int(given)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{given} is not 1 or more")
    return value


def _sizes(given: str) -> tuple[int, ...]:
    return tuple(_positive(each) for each in names(given))


_positive.__name__ = "number"  # what argparse calls it
_sizes.__name__ = "list of numbers"
