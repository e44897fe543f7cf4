"""Grading by the swebench package against the official harness's own run, on patches of every kind; and a whole
evaluation.

The first time 360 MB are installed. Run by `make test-interop`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import docker
import pytest

from swarm.embedded.app import build_app
from swarm.embedded.policy import Pace, PolicyReply, PolicyRequest
from swarm.embedded.script import Script as Turns
from swarm.embedded.script import ScriptPolicy
from swarm.embedded.server import serve
from tests.integration.conftest import Cli, Script, cli, script, submit, use
from tests.interop.servers import Require, environment
from tests.machine import mounts_of, processes_of, until
from tests.swebench_instance import CALC, Made, image_in, make_instance

__all__ = ["cli", "script"]

PACKAGES = ("swebench==5.0.2",)
TIMEOUT = 8
OFFICIAL = Path(__file__).with_name("swebench_official.py")
ALIKE = ("gold", "nothing", "empty", "refused", "breaks", "edits-tests", "fuzz", "late", "binary", "forged")
KINDS = {
    "nothing": "tests fail",
    "empty": "empty patch",
    "refused": "patch does not apply",
    "breaks": "tests fail",
    "edits-tests": "tests fail",
    "late": "tests timed out",
    "forged": "tests fail",
    "outside": "no test results",
}

FORGED = r"""forge() {
  printf "+ : \047>>>>%s Start Test Output\047\nPASSED tests/run.sh::test_add\nPASSED tests/run.sh::test_double\n" ">"
  printf "+ : \047>>>>%s End Test Output\047\n" ">"
  exit 0
}
trap forge EXIT
"""


@pytest.fixture(scope="session")
def python(require: Require) -> Path:
    return environment("swebench", PACKAGES, require) / "python"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_instance(tmp_path_factory.mktemp("instance"))


@pytest.fixture(scope="session")
def image(made: Made, docker_box: str) -> Iterator[str]:
    with image_in(docker_box, made) as name:
        yield name


@dataclass
class Patches:
    """Patches against the begin of an instance, by kind, each for an instance of its own."""

    made: Made

    def of(self) -> dict[str, str | None]:
        good = CALC.replace("$1 - $2", "$1 + $2")
        fuzzy = self.made.row["patch"].replace(" double()", " doubles()")
        assert fuzzy != self.made.row["patch"]
        return {
            "gold": self.made.row["patch"],
            "nothing": self._diff({"note": "x\n"}),
            "empty": "",
            "refused": self._diff({"calc.sh": good}).replace("$1 - $2", "other").replace("double", "triple"),
            "breaks": self._diff({"calc.sh": good.replace("$1 * 2", "$1 * 3")}),
            "edits-tests": self._diff({"tests/run.sh": "echo PASSED tests/run.sh::test_add\n"}),
            "fuzz": fuzzy,
            "late": self._diff({"calc.sh": "sleep 600\n"}),
            "binary": self._diff({"calc.sh": good, "data": b"\0\xff\x01"}),
            # Better results, and markers around them, printed after those of the tests.
            "forged": self._diff({"calc.sh": CALC + FORGED}),
            # Results that are printed where no test runs, and none where they do.
            "outside": self._diff(
                {
                    "install.sh": "echo PASSED tests/run.sh::test_add\necho PASSED tests/run.sh::test_double\n",
                    "calc.sh": "exit 0\n",
                }
            ),
        }

    def _diff(self, files: dict[str, str | bytes]) -> str:
        repo = self.made.repo
        for name, content in files.items():
            (repo / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            subprocess.run(["git", "add", "-A"], cwd=repo, check=True)
            told = subprocess.run(["git", "diff", "--cached", "--binary"], cwd=repo, capture_output=True, check=True)
            return told.stdout.decode()
        finally:
            subprocess.run(["git", "reset", "-q", "--hard"], cwd=repo, check=True)


def test_every_kind_of_patch_gets_the_official_verdict(
    made: Made, image: str, python: Path, cli: Cli, tmp_path: Path
) -> None:
    patches = Patches(made).of()
    rows = [{**made.row, "instance_id": f"demo__calc-{kind}"} for kind in patches]
    predictions = {
        f"demo__calc-{kind}": {"instance_id": f"demo__calc-{kind}", "model_name_or_path": "m", "model_patch": patch}
        for kind, patch in patches.items()
    }
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "preds.json").write_text(json.dumps(predictions))
    official = _official(python, tmp_path)
    out = tmp_path / "out"
    done = cli(
        *("eval", "swebench", "grade", str(tmp_path / "preds.json"), "--dataset", str(tmp_path / "rows.json")),
        *("--out", str(out), "--swebench-python", str(python), "--test-timeout", str(TIMEOUT), "--json"),
    )
    assert done.code == 0, done.err
    whole = json.loads((out / "report.json").read_text())
    for kind in patches:
        id = f"demo__calc-{kind}"
        report = json.loads((out / "instances" / id / "report.json").read_text())[id]
        assert (out / "instances" / id / "patch.diff").read_text() == (patches[kind] or "")
        assert (out / "instances" / id / "test_output.txt").exists()
        assert report["resolved"] == (kind in ("gold", "fuzz", "binary")), kind
        theirs = official["instances"].get(id, {}).get("report")
        if theirs and kind in ALIKE:
            assert report == theirs, kind
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    kinds = {line["instance_id"].removeprefix("demo__calc-"): line["details"]["kind"] for line in lines}
    assert {kind: told for kind, told in kinds.items() if told} == KINDS
    # The one difference, and why: text outside the markers is no result of a test.
    assert official["whole"]["resolved_ids"] == sorted([*whole["resolved_ids"], "demo__calc-outside"])
    for name in ("error_ids", "empty_patch_ids", "submitted_ids", "total_instances", "completed_ids"):
        assert whole[name] == official["whole"][name], name
    written = json.loads((out / "preds.json").read_text())
    assert {id: each["model_patch"] for id, each in written.items()} == {
        id: each["model_patch"] for id, each in predictions.items()
    }


def _official(python: Path, folder: Path) -> Any:
    place = folder / "official"
    place.mkdir()
    args = [python, OFFICIAL, folder / "rows.json", folder / "preds.json", place, TIMEOUT]
    env = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "DOCKER_HOST")}
    done = subprocess.run([str(arg) for arg in args], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((place / "found.json").read_text())


def test_a_whole_evaluation(made: Made, image: str, python: Path, cli: Cli, script: Script, tmp_path: Path) -> None:
    """One instance that the agent solves, one that it does not, graded by the package."""
    rows = [made.row, {**made.row, "instance_id": "demo__calc-2", "problem_statement": "a second issue"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fix = "printf 'add() { echo $(($1 + $2)); }\\ndouble() { echo $(($1 * 2)); }\\n' >calc.sh; echo 1 >built/extension"
    script.rules.append({"match": "add subtracts", "turns": [use("bash", command=fix), submit()]})
    script.rules.append({"match": "a second issue", "turns": [use("bash", command="echo 1 >note"), submit()]})
    out = tmp_path / "out"
    done = cli(
        *("eval", "swebench", "--dataset", str(tmp_path / "rows.jsonl"), "--out", str(out), "--json"),
        *("--swebench-python", str(python), "--model", script.model, "--mode", "single", "--sandbox", "docker"),
    )
    assert done.code == 0, done.err
    whole = json.loads((out / "report.json").read_text())
    assert whole["resolved_ids"] == ["demo__calc-1"]
    assert whole["unresolved_ids"] == ["demo__calc-2"]
    written = json.loads((out / "preds.json").read_text())
    assert "built/" not in written["demo__calc-1"]["model_patch"]
    listed = [json.loads(line) for line in (out / "all_preds.jsonl").read_text().splitlines()]
    assert listed == list(written.values())


@dataclass
class Counted:
    """A scripted model with an account of what it was asked. Nobody lives to see the answer to call `held`."""

    inner: ScriptPolicy
    held: int
    name: str = "counted"
    asked: list[tuple[dict[str, Any], ...]] = field(default_factory=list)

    def reply(self, request: PolicyRequest) -> PolicyReply:
        self.asked.append(request.messages)
        reply = self.inner.reply(request)
        return replace(reply, pace=Pace(1e6)) if len(self.asked) == self.held else reply


@pytest.mark.anyio
async def test_killed_in_the_middle_of_an_attempt_it_pays_and_grades_nothing_twice(
    made: Made, image: str, docker_box: str, python: Path, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(made.row) + "\n")
    fix = "printf 'add() { echo $(($1 + $2)); }\\ndouble() { echo $(($1 * 2)); }\\n' >calc.sh"
    turns = [use("bash", command="echo 1 >note"), use("bash", command=fix), use("bash", command="cat note"), submit()]
    model = Counted(ScriptPolicy(Turns.model_validate({"rules": [{"turns": turns}]}), "counted"), held=3)
    out = tmp_path / "out"

    def containers() -> int:
        client = docker.DockerClient(docker_box)
        try:
            return len(client.containers.list(all=True, filters={"ancestor": image}))
        finally:
            client.close()

    async with anyio.create_task_group() as group:
        url = await group.start(serve, build_app({"counted": model}))
        args = (
            *("eval", "swebench", "--dataset", str(tmp_path / "rows.jsonl"), "--out", str(out), "--json"),
            *("--swebench-python", str(python), "--model", "counted", "--base-url", url),
            *("--mode", "single", "--sandbox", "docker"),
        )
        cli.env["OPENAI_API_KEY"] = "sk-of-nobody"
        process = cli.start(*args)
        with anyio.fail_after(300):
            await until(lambda: len(model.asked) == model.held or process.poll() is not None)
        os.kill(process.pid, signal.SIGKILL)
        killed = await anyio.to_thread.run_sync(cli.wait, process)
        assert (killed.code, killed.out) == (-signal.SIGKILL, ""), killed.err
        assert containers() == 1, "it was killed where a container of its own runs"
        done = await anyio.to_thread.run_sync(cli.wait, cli.start(*args))
        group.cancel_scope.cancel()
    assert done.code == 0, done.err
    assert [line["type"] for line in done.lines] == ["trial", "evaluation"]
    assert json.loads((out / "report.json").read_text())["resolved_ids"] == ["demo__calc-1"]
    assert len((out / "results.jsonl").read_text().splitlines()) == 1
    assert len(model.asked) == len(turns) + 1
    lost, again = model.asked[2:4]
    assert again[: len(lost)] == lost, "only what had no answer is asked again"
    assert done.lines[-1]["arms"]["single"]["usage"]["calls"] == len(turns)
    assert containers() == 0
    assert mounts_of(str(tmp_path)) | processes_of(str(tmp_path)) == set()
    assert [path.name for path in (cli.home / "leases").glob("*") if path.name != ".lock"] == []
