"""examples/parl learns: the real runtime, its log exported, a policy updated by nothing but what was exported."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.interop.servers import Require, environment

ROOT = Path(__file__).parents[2]
TORCH = "torch>=2.13"


def python(require: Require) -> str:
    """An interpreter with swarm's dependencies and torch: this one, where it has torch."""
    if importlib.util.find_spec("torch") is not None:
        return sys.executable
    own = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    return str(environment("parl", (TORCH, *own), require) / "python")


def test_the_parts_of_a_training_are_commands(require: Require, tmp_path: Path) -> None:
    interpreter = python(require)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        return subprocess.run(
            [interpreter, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
        )

    def part(name: str) -> subprocess.CompletedProcess[str]:
        return run("-m", "examples.parl", name, "--out", str(tmp_path))

    made = "import sys, torch; from examples.parl.policy import Policy; torch.save(Policy().state_dict(), sys.argv[1])"
    assert run("-c", made, str(tmp_path / "base.pt")).returncode == 0
    assert part("train").returncode == 2, "there are no rows"
    rolled = part("rollouts")
    assert rolled.returncode == 0, rolled.stderr[-3000:]
    assert rolled.stdout.startswith("version 0, 32 runs")
    assert len((tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()) == 32
    assert len(list((tmp_path / "home/runs").iterdir())) == 32, "the logs are kept"
    assert part("train").stdout.startswith("version 1: rows 32")
    stale = part("train")
    assert (stale.returncode, "version 1" in stale.stderr) == (2, True), "rows of another version are not learnt from"
    assert part("evaluate").stdout.startswith("version 1, 16 held-out runs")


def test_it_learns_from_the_exported_log(require: Require, tmp_path: Path) -> None:
    done = subprocess.run(
        [python(require), "-m", "tests.interop.parl_training", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["iterations"]) == found["version"] == 3
    assert found["moved"] > 1
    for number, each in enumerate(found["iterations"]):
        assert each["runs"] == each["rows"] == 32, "each run is one row: its tokens only grow"
        assert each["turns"] > 32
        assert each["missing"] == each["invented"] == 0, "the rows hold what the server sampled, all of it and no more"
        assert each["versions"] == [number]
        assert abs(each["kl"]) < 1e-4, "the trainer computes the log-probabilities that the server told"
        assert each["risen"] > 0, "what was rewarded has become likelier"
