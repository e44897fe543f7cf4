"""A run that the machine failed at its very end, when all its work was done, is gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Cli, Files, Script, plan, submit, subtask, use
from tests.integration.test_parl import assign, create, turn


@pytest.mark.parametrize("mode", ["plan", "parl"])
def test_a_patch_that_could_not_be_written_is_written_when_it_is_resumed(
    cli: Cli, script: Script, make_repo: Callable[[Files], Path], mode: str
) -> None:
    repo = make_repo({"a.txt": "a\n"})
    works = use("bash", command=f"mkdir {cli.home}/runs/$(ls {cli.home}/runs)/patch.diff; echo 1 > one.txt")
    if mode == "plan":
        script.planner(plan(subtask("one")), plan())
        script.agent("one", works, submit())
    else:
        script.planner(turn(create("w")), turn(assign("w", "write one")), {"content": "done"})
        script.agent("w-1", works, submit())
    broken = cli.run("x", repo, "--model", script.model, "--sandbox", "process", "--mode", mode)
    run = cli.runs[-1]
    assert (broken.code, broken.result["status"], broken.result["patch_path"]) == (3, "errored", None)
    assert f"go on: swarm resume {run.name}" in broken.err
    (run / "patch.diff").rmdir()
    done = cli("resume", run.name, "--json")
    assert done.code == 0, done.err
    assert "+1\n" in Path(done.result["patch_path"]).read_text()
    assert done.result["usage"] == broken.result["usage"]
