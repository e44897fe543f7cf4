"""`swarm eval widesearch`: wide questions with one table as the answer, of WideSearch or of a synthetic world."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from swarm.config import RunConfig
    from swarm.evals.suite import Suite
    from swarm.evals.widesearch.suite import WideData

HELP = "wide questions that one table answers, graded cell by cell"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the suite takes."""
    _add_data(parser)
    parser.add_argument("--synthetic", metavar="N", type=int, help="no data: N questions about a world made by --seed")
    _add_judge(parser)


def add_actions(actions: argparse._SubParsersAction[Any]) -> None:
    """Declare `grade` and `make`."""
    from swarm.cli.evals.common import add_grading_arguments

    grade = actions.add_parser(
        "grade",
        help="grade answers that are there already",
        description="Grade answers that are there already, cell by cell.",
        allow_abbrev=False,
    )
    grade.add_argument("responses", metavar="RESPONSES", help="JSON lines: instance_id, response, trial")
    add_grading_arguments(grade)
    _add_data(grade)
    _add_judge(grade)
    grade.set_defaults(handler=_grade)
    make = actions.add_parser(
        "make",
        help="write a synthetic world in WideSearch's own form",
        description="Write a synthetic world in WideSearch's own form, made by a seed.",
        allow_abbrev=False,
    )
    make.add_argument("--synthetic", metavar="N", type=int, default=8, help="questions (default: 8)")
    make.add_argument("--seed", metavar="S", type=int, default=0, help="what the world is made by (default: 0)")
    make.add_argument("--out", metavar="DIR", required=True, help="where widesearch.jsonl and its folders go")
    make.set_defaults(handler=_make)


def make(args: argparse.Namespace, config: RunConfig) -> Suite:
    """The suite that was asked for.

    Raises:
        UsageError: data is missing or cannot be read.
    """
    from swarm.errors import UsageError
    from swarm.evals.widesearch.suite import WideSearch, synthetic_data

    if args.synthetic is None:
        return WideSearch(_data(args), *_judge(args, config))
    if args.dataset or args.gold or args.corpus:
        raise UsageError("--synthetic makes its own data", remedy="leave out --dataset, --gold and --corpus")
    return WideSearch(synthetic_data(args.seed or 0, args.synthetic), *_judge(args, config))


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", metavar="FILE|NAME", help="JSONL or Parquet, or a name such as ByteDance-Seed/WideSearch"
    )
    parser.add_argument("--gold", metavar="DIR", help="the gold tables, a CSV per id (default: beside the data)")
    parser.add_argument("--corpus", metavar="FILE", help="documents (JSONL: title, text) that agents search, no web")


def _add_judge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--judge-model", metavar="M", help="the model that judges where a metric asks for one")
    parser.add_argument("--judge-base-url", metavar="URL", help="its endpoint (default: that of the run)")
    parser.add_argument("--judge-cache", metavar="DIR", help="where judgements are kept (default: in SWARM_HOME)")


def _data(args: argparse.Namespace) -> WideData:
    from pathlib import Path

    from swarm.errors import UsageError
    from swarm.evals.widesearch.suite import file_data

    if not args.dataset:
        raise UsageError("no data is named", remedy="give --dataset FILE (and --gold DIR), or --synthetic N")
    gold = Path(args.gold) if args.gold else None
    return file_data(args.dataset, gold, Path(args.corpus) if args.corpus else None)


def _judge(args: argparse.Namespace, config: RunConfig) -> tuple[RunConfig | None, Path | None]:
    """How the judge is reached, and where its judgements are kept; nothing where no model is named."""
    import os
    from pathlib import Path

    from swarm.config import home
    from swarm.errors import UsageError

    if not args.judge_model:
        if args.judge_base_url or args.judge_cache:
            raise UsageError("a judge needs a model", remedy="give --judge-model M")
        return None, None
    kept = Path(args.judge_cache) if args.judge_cache else home(os.environ) / "judgements"
    own = {"model": args.judge_model, "planner_model": None, "subagent_model": None, "aggregator_model": None}
    own |= {"record": None, "replay": None, "budget_usd": None}
    if args.judge_base_url:
        own["base_url"] = args.judge_base_url
    return config.model_copy(update=own), kept


def _grade(args: argparse.Namespace) -> int:
    import os
    from pathlib import Path

    from swarm.cli.evals.common import grade_given
    from swarm.cli.stdio import complain
    from swarm.config import load_config
    from swarm.evals.runner.given import Given
    from swarm.evals.widesearch.responses import missing, read_responses
    from swarm.evals.widesearch.suite import WideSearch

    data = _data(args)
    ids = [question.id for question in data.questions]
    responses = read_responses(Path(args.responses), set(ids))
    if responses.unknown:
        complain(f"swarm: no question has the id {', '.join(responses.unknown[:5])}: not graded")
    if lacking := missing(responses, ids):
        complain(f"swarm: {len(lacking)} of {len(ids)} questions are not answered in every trial: graded as 0 there")
    suite = WideSearch(data, *_judge(args, load_config({}, os.environ)), trials=responses.trials)
    given = [
        Given(name, epoch, responses.answer(name, trial))
        for name in ids
        for epoch, trial in enumerate(responses.trials, start=1)
    ]
    return grade_given(args, suite, given)


def _make(args: argparse.Namespace) -> int:
    from pathlib import Path

    from swarm.cli.stdio import tell
    from swarm.evals.widesearch.synthetic import synthetic_world, write_world

    world = synthetic_world(args.seed, args.synthetic)
    for path in write_world(world, Path(args.out)):
        tell(str(path))
    return 0
