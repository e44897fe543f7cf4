"""`swarm eval swebench`: instances of SWE-bench, the grading of predictions, and images made here."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarm.config import RunConfig
    from swarm.evals.suite import Suite
    from swarm.evals.swebench.environment import Environment
    from swarm.evals.swebench.rows import Row

HELP = "issues of real repositories, graded by the swebench package in the instances' images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the suite's own options."""
    _add_data(parser)
    _add_grading(parser)


def make(args: argparse.Namespace, config: RunConfig) -> Suite:
    """The suite that the options name.

    Raises:
        UsageError: the data is not there, or the sandbox has no images.
        MachineError: the data cannot be had.
    """
    from swarm.errors import UsageError

    if config.sandbox not in ("auto", "docker"):
        raise UsageError(
            f"sandbox `{config.sandbox}` has no images, and instances come in one each", remedy="give --sandbox docker"
        )
    return _suite(args, _rows(args))


def add_actions(actions: argparse._SubParsersAction[Any]) -> None:
    """Declare `grade` and `build`."""
    from swarm.cli.evals.common import add_grading_arguments

    grade = actions.add_parser(
        "grade",
        help="grade predictions that were made elsewhere",
        description="Grade predictions that were made elsewhere, in the instances' images, with the official reports.",
        allow_abbrev=False,
    )
    grade.add_argument("predictions", metavar="PREDS", help="JSON (a map or a list) or JSONL in the official form")
    _add_data(grade)
    _add_grading(grade)
    add_grading_arguments(grade)
    grade.set_defaults(handler=_grade)
    build = actions.add_parser(
        "build",
        help="make images of instances, where they cannot be pulled",
        description="Make the image of each instance: Debian's packages, a Python of this machine, the packages that "
        "swebench's resources pin, and the repository at its commit alone. What is there already is left.",
        allow_abbrev=False,
    )
    _add_data(build)
    build.add_argument("--ids", metavar="A,B", default="", help="these instances alone")
    build.add_argument("--repo-mirror", metavar="DIR", default="", help="a clone, or a folder of clones (OWNER__NAME)")
    build.add_argument(
        "--environments", metavar="DIR", default="", help="a clone of SWE-bench's repository, for its resources"
    )
    build.add_argument("--python", metavar="X.Y", default="", help="this Python, and no pins where there are none")
    build.add_argument("--force", action="store_true", help="make anew what is there")
    build.set_defaults(handler=_build)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        metavar="FILE|NAME",
        default="",
        help="JSON, JSONL or Parquet; or verified, lite, multilingual, full, OWNER/NAME of Hugging Face",
    )
    parser.add_argument(
        "--image-template",
        metavar="T",
        help="the images' names, <id> for the instance (default: as the data says, else "
        "swebench/sweb.eval.x86_64.<id> in the official spelling)",
    )


def _add_grading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--swebench-python", metavar="PATH", default=sys.executable, help="an interpreter that has swebench"
    )
    parser.add_argument(
        "--test-timeout", metavar="SECONDS", type=float, default=1800.0, help="for an eval script (default: 1800)"
    )
    parser.add_argument(
        "--offline-tests", action="store_true", help="no network for eval scripts, which officially have it"
    )


def _rows(args: argparse.Namespace) -> list[Row]:
    from swarm.errors import UsageError
    from swarm.evals.swebench.rows import load_rows

    if not args.dataset:
        raise UsageError("no data is named", remedy="give --dataset FILE, or --dataset verified")
    return load_rows(args.dataset)


def _suite(args: argparse.Namespace, rows: list[Row]) -> Suite:
    import os

    from swarm.config import home
    from swarm.errors import UsageError
    from swarm.evals.swebench.names import TEMPLATE, image_of
    from swarm.evals.swebench.suite import Settings, Swebench

    if not 0 < args.test_timeout < float("inf"):
        raise UsageError(f"--test-timeout: {args.test_timeout:g} is no time", remedy="give seconds above 0")
    image_of(args.image_template or TEMPLATE, "owner__name-1")
    settings = Settings(
        home(os.environ), args.image_template, args.swebench_python, args.test_timeout, args.offline_tests
    )
    return Swebench(rows, settings)


def _grade(args: argparse.Namespace) -> int:
    from pathlib import Path

    from swarm.cli.evals.common import grade_given
    from swarm.errors import UsageError
    from swarm.evals.runner.given import Given
    from swarm.evals.swebench.predictions import known, read_predictions

    rows = _rows(args)
    predictions = read_predictions(Path(args.predictions))
    if not predictions:
        raise UsageError(f"{args.predictions} holds no predictions", remedy="name a file that does")
    known(predictions, {row.instance_id for row in rows}, args.dataset)
    given = [Given(each.instance_id, patch=each.patch) for each in predictions]
    models = {each.model for each in predictions}
    model = models.pop() if len(models) == 1 else "given"
    return grade_given(args, _suite(args, rows), given, model)


def _build(args: argparse.Namespace) -> int:
    import anyio

    from swarm.errors import UsageError

    rows = {row.instance_id: row for row in _rows(args)}
    ids = [id for id in args.ids.split(",") if id] or list(rows)
    strange = [id for id in ids if id not in rows]
    if strange:
        raise UsageError(
            f"--ids: {', '.join(strange)} not in {args.dataset}", remedy="give values of its `instance_id`"
        )
    if not args.repo_mirror:
        raise UsageError("no repository is named", remedy="give --repo-mirror DIR: a clone, or a folder of clones")
    return anyio.run(_build_all, args, [rows[id] for id in ids])


async def _build_all(args: argparse.Namespace, rows: list[Row]) -> int:
    import os
    from pathlib import Path

    from swarm.cli.stdio import complain, tell
    from swarm.config import home
    from swarm.errors import SandboxError, UsageError
    from swarm.evals.swebench.build import Means, build_instance
    from swarm.evals.swebench.container import CALL_S
    from swarm.evals.swebench.names import TEMPLATE, image_of
    from swarm.sandboxes.docker.engine import connect

    means = Means(Path(args.repo_mirror).expanduser(), home(os.environ))
    failed = 0
    async with connect(timeout=CALL_S) as engine:
        for row in rows:
            name = row.image if row.image and not args.image_template else ""
            name = name or image_of(args.image_template or TEMPLATE, row.instance_id)
            if not args.force and await engine.has_image(name):
                complain(f"{name} is there already")
                tell(name)
                continue
            complain(f"building {name}")
            try:
                await build_instance(engine, row, name, _environment(args, row.instance_id), means, complain)
            except (SandboxError, UsageError) as error:  # of one instance; the others may go well
                complain(f"{row.instance_id}: {error.message}" + (f" ({error.remedy})" if error.remedy else ""))
                failed += 1
            else:
                tell(name)
    if failed:
        complain(f"{failed} of {len(rows)} images could not be made")
    return 1 if failed else 0


def _environment(args: argparse.Namespace, id: str) -> Environment:
    from dataclasses import replace
    from pathlib import Path

    from swarm.errors import UsageError
    from swarm.evals.swebench.environment import Environment, find_environment

    if args.environments:
        found = find_environment(Path(args.environments).expanduser(), id)
        return replace(found, python=args.python or found.python)
    if not args.python:
        raise UsageError(
            "which Python and which packages is not known",
            remedy="give --environments DIR (a clone of SWE-bench's repository), or --python X.Y for no pins",
        )
    return Environment(args.python, ())
