"""An evaluation of instances that are all the same: python -m benchmarks.workers.evaluation WHO SANDBOX PLACE SIZE SIZE

WHO is `swarm` or `mini-swe-agent`; SANDBOX `bubblewrap` or an image with the repository at /testbed. PLACE is JSON:
`url`, `repo`, `environment` (of mini-swe-agent). mini-swe-agent is run as its documentation says, `mini-extra
swebench` with the configuration that it ships for SWE-bench. Two sizes tell the start (imports) from what each further
instance costs; CPU is that of the process and of all that it started.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PEER = "mini-swe-agent"
TASK = "VALUE in pkg/mod_7.py is 7, and should be 8. Mend it."
ROOT = Path(__file__).resolve().parents[2]
SUBREAPER = 36  # prctl: orphans become our children, and what they used is counted
FILES = 200
WORKERS = 4
COMMANDS = (
    "ls -la && git log --oneline | head -3",
    "cat pkg/mod_7.py",
    "grep -rn 'def ' pkg | head -50",
    "sed -i 's/^VALUE = 7/VALUE = 8/' pkg/mod_7.py",
    # By its path: ours shows the user's own Python inside, theirs the machine's, and one may start far slower.
    "/usr/bin/python3 -c 'import pkg.mod_7'",
)


def script(folder: Path) -> Path:
    """The model: the same commands for both, then each one's own way to hand in."""
    hand_in = {
        "mini": ["git diff -- pkg > patch.txt", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && cat patch.txt"],
        "ours": ["git diff -- pkg"],
    }
    rules = []
    for who, last in hand_in.items():
        turns = [{"tool_calls": [{"name": "bash", "arguments": {"command": each}}]} for each in (*COMMANDS, *last)]
        if who == "ours":
            done = {"name": "submit", "arguments": {"status": "done", "summary": "VALUE is 8"}}
            turns.append({"tool_calls": [done]})
        rules.append({"turns": turns, **({"match": "COMPLETE_TASK_AND_SUBMIT"} if who == "mini" else {})})
    path = folder / "model.json"
    path.write_text(json.dumps({"rules": rules}))
    return path


def repository(folder: Path) -> Path:
    repo = folder / "repo"
    (repo / "pkg").mkdir(parents=True)
    for index in range(FILES):
        body = "".join(f"def f{line}(x):\n    return x + {line}\n\n" for line in range(60))
        (repo / f"pkg/mod_{index}.py").write_text(f"VALUE = {index}\n\n\n{body}")
    identity = ("-c", "user.name=x", "-c", "user.email=x@x")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(repo), *command], check=True)
    return repo


def ours(place: dict[str, str], out: Path, number: int, image: str | None) -> list[str]:
    sandbox = ["docker", image] if image else ["bubblewrap"]
    return [
        sys.executable,
        *("-m", "benchmarks.workers.evaluation_ours"),
        *map(str, (place["url"], place["repo"], out, number, WORKERS)),
        *sandbox,
    ]


def theirs(place: dict[str, str], out: Path, number: int, image: str | None) -> list[str]:
    """Their batch runner on a data set of so many rows, with their configuration for SWE-bench and what differs."""
    data = out.parent / f"{out.name}-data"
    data.mkdir()
    row = {"problem_statement": TASK, "image_name": image or ""}
    rows = [json.dumps(row | {"instance_id": f"copy__copy-{index}"}) for index in range(number)]
    (data / "test.jsonl").write_text("\n".join(rows) + "\n")
    model = {"model_kwargs": {"api_base": place["url"], "api_key": "none"}, "cost_tracking": "ignore_errors"}
    config: dict[str, Any] = {"model": model}
    if image is None:
        config["environment"] = {
            "cwd": "",
            "wrapper_args": [*_wrapper_args(place), "--ro-bind", place["repo"], "/repo"],
        }
        config["run"] = {"env_startup_command": "cp -a /repo/. ."}
    own = out.parent / f"{out.name}.yaml"
    own.write_text(json.dumps(config))  # JSON is YAML
    kind = "docker" if image else "bubblewrap"
    command = [f"{place['environment']}/bin/mini-extra", "swebench", "--subset", str(data), "--split", "test"]
    command += ["-o", str(out), "-w", str(WORKERS), "-m", "openai/script", "--environment-class", kind]
    return [*command, "-c", "swebench.yaml", "-c", str(own)]


def _wrapper_args(place: dict[str, str]) -> list[str]:
    """What their bubblewrap is given as it comes."""
    code = "from minisweagent.environments.extra.bubblewrap import BubblewrapEnvironmentConfig as c; import json; "
    command = [f"{place['environment']}/bin/python", "-c", f"{code}print(json.dumps(c().wrapper_args))"]
    env = os.environ | {"MSWEA_SILENT_STARTUP": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(name: str, place: dict[str, str], out: Path, number: int, image: str | None) -> tuple[float, float]:
    """CPU and wall seconds of a whole evaluation; what came out is looked at."""
    home = out.parent / "home"
    env = {**os.environ, "SWARM_HOME": str(home), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    env |= {"MSWEA_GLOBAL_CONFIG_DIR": str(home), "MSWEA_SILENT_STARTUP": "1", "MSWEA_CONFIGURED": "true"}
    env |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": str(ROOT) if name == "swarm" else ""}
    command = ours(place, out, number, image) if name == "swarm" else theirs(place, out, number, image)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with (out.parent / f"{out.name}.log").open("wb") as log:
        code = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=out.parent).wait()
    wall = time.monotonic() - started
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = (out.parent / f"{out.name}.log").read_text(errors="replace")[-1500:]
    assert code == 0, f"{name} ended with {code}: {said}"
    if name == PEER:
        patches = [row["model_patch"] or "" for row in json.loads((out / "preds.json").read_text()).values()]
        assert sum("+VALUE = 8" in patch for patch in patches) == number, said
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main(name: str, sandbox: str, place: dict[str, str], sizes: Sequence[int]) -> None:
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    image = None if sandbox == "bubblewrap" else sandbox
    few, many = sizes
    with tempfile.TemporaryDirectory(dir=".") as temporary:
        folder = Path(temporary).resolve()
        cpu_few, wall_few = measured(name, place, folder / f"out-{few}", few, image)
        cpu_many, wall_many = measured(name, place, folder / f"out-{many}", many, image)
    each = (cpu_many - cpu_few) / (many - few)
    told = {"cpu_ms": 1000 * each, "wall_ms": 1000 * (wall_many - wall_few) / (many - few)}
    print(json.dumps({**told, "start_s": cpu_few - few * each, "of": few + many}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), [int(size) for size in sys.argv[4:6]])
