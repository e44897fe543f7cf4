"""The examples that take longer, or want packages of others, as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.flags import search_path
from swarm.result import RunResult

ROOT = Path(__file__).parents[2]
TEST = "python -m pytest -q --tb=short -p no:cacheprovider"


def example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m examples.NAME`, from a folder that is not the checkout's."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": search_path()}
    command = [sys.executable, "-m", f"examples.{name}", *arguments]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=600, check=False)


def patched(repo: Path, patch: Path) -> subprocess.CompletedProcess[str]:
    """The tests of the repository with the patch."""
    subprocess.run(["git", "-C", str(repo), "apply", str(patch)], check=True)
    environment = {"PATH": search_path(), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(TEST.split(), cwd=repo, env=environment, capture_output=True, text=True, check=False)


def test_repair(tmp_path: Path) -> None:
    done = example("repair", "--out", str(tmp_path), "--agents", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    tests = patched(tmp_path / "shop", tmp_path / "repair.patch")
    assert tests.returncode == 0, tests.stdout


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_a_graph_of_langgraph_makes_a_branch_where_it_may(tmp_path: Path, answer: str) -> None:
    done = example("langgraph_node", "--out", str(tmp_path), "--agents", "2", *(["--yes"] if answer == "yes" else []))
    assert done.returncode == 0, done.stdout + done.stderr
    git = ["git", "-C", str(tmp_path / "shop")]
    branches = subprocess.run([*git, "branch", "--list", "swarm-repair"], capture_output=True, text=True, check=True)
    assert ("swarm-repair" in branches.stdout) == (answer == "yes")
    assert subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=True).stdout == b""


@pytest.fixture(scope="module")
def fetched() -> None:
    """Both versions of pyparsing, where they can be had."""
    from examples.upgrade import programs
    from swarm.errors import MachineError
    from swarm.evals.packages import fetch

    try:
        fetch(programs.OLD, ROOT / ".cache/packages")
    except MachineError as error:
        pytest.skip(f"pyparsing cannot be fetched here: {error}")


@pytest.mark.usefixtures("fetched")
def test_real_programs_are_upgraded(tmp_path: Path) -> None:
    done = example("upgrade", "--out", str(tmp_path), "--programs", "12")
    assert done.returncode == 0, done.stdout + done.stderr
    tests = patched(tmp_path / "programs", tmp_path / "upgrade.patch")
    assert "12 passed" in tests.stdout


@pytest.mark.usefixtures("fetched")
def test_a_program_that_wants_more_than_new_names_is_named_and_not_spoilt(tmp_path: Path) -> None:
    done = example("upgrade", "--out", str(tmp_path), "--programs", "1", "--changed")
    assert done.returncode == 1, done.stdout + done.stderr
    (folder,) = (tmp_path / "home/runs").iterdir()
    result = RunResult.model_validate_json((folder / "result.json").read_text())
    assert result.outcomes == {"completed": 1, "failed": 1}
    assert "programs/indentedGrammarExample.py" in result.answer
    assert "indentedGrammarExample" not in (tmp_path / "upgrade.patch").read_text()
