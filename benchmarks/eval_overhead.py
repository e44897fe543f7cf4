"""What the harness itself costs for each instance of an evaluation: our runner against mini-swe-agent's batch runner.

    python benchmarks/eval_overhead.py [--rounds 3] [--instances 4 24] [--workers 4] [--sandbox bubblewrap|IMAGE ...]
                                       [--install] [--json FILE]

Both run the same instances (one repository, the same scripted model in a process of its own, the same six commands of
an agent, then its submission) in the same kind of sandbox: bubblewrap, or containers of IMAGE (which has bash, git and
python3) with the repository at /testbed. mini-swe-agent is its own package from PyPI in an environment of its own
(`--install` makes it under the cache folder), run as its documentation says: `mini-extra swebench`, with the
configuration that it ships for SWE-bench. Each measurement is a process of its own, all in turn. CPU is that of the
process and of all that it started; that of the Docker daemons stands beside it. Two sizes tell the start (imports) from
what each further instance costs.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from eval_overhead_worker import TASK
from measure import machine, save

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swarm-benchmarks"
PEER = "mini-swe-agent"
PACKAGES = (PEER, "litellm[mcp]")  # litellm 1.106 imports mcp for every call with tools, and does not ask for it
SUBREAPER = 36  # prctl: orphans become our children, and what they used is counted
FILES = 200
COMMANDS = (
    "ls -la && git log --oneline | head -3",
    "cat pkg/mod_7.py",
    "grep -rn 'def ' pkg | head -50",
    "sed -i 's/^VALUE = 7/VALUE = 8/' pkg/mod_7.py",
    "python3 -c 'import pkg.mod_7'",
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


@contextmanager
def endpoint(policy: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "swarm", "endpoint", "--port", "0", "--policy", f"script:{policy}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[-1]
        finally:
            server.kill()


def ours(url: str, repo: Path, out: Path, number: int, workers: int, image: str | None) -> list[str]:
    sandbox = ["docker", image] if image else ["bubblewrap"]
    return [
        sys.executable,
        str(HERE / "eval_overhead_worker.py"),
        url,
        *map(str, (repo, out, number, workers)),
        *sandbox,
    ]


def theirs(url: str, repo: Path, out: Path, number: int, workers: int, image: str | None) -> list[str]:
    """Their batch runner on a data set of so many rows, with their configuration for SWE-bench and what differs."""
    data = out.parent / f"{out.name}-data"
    data.mkdir()
    row = {"problem_statement": TASK, "image_name": image or ""}
    rows = [json.dumps(row | {"instance_id": f"copy__copy-{index}"}) for index in range(number)]
    (data / "test.jsonl").write_text("\n".join(rows) + "\n")
    model = {"model_kwargs": {"api_base": url, "api_key": "none"}, "cost_tracking": "ignore_errors"}
    config: dict[str, Any] = {"model": model}
    if image is None:
        config["environment"] = {"cwd": "", "wrapper_args": [*_wrapper_args(), "--ro-bind", str(repo), "/repo"]}
        config["run"] = {"env_startup_command": "cp -a /repo/. ."}
    own = out.parent / f"{out.name}.yaml"
    own.write_text(json.dumps(config))  # JSON is YAML
    kind = "docker" if image else "bubblewrap"
    command = [str(CACHE / PEER / "bin/mini-extra"), "swebench", "--subset", str(data), "--split", "test"]
    command += ["-o", str(out), "-w", str(workers), "-m", "openai/script", "--environment-class", kind]
    return [*command, "-c", "swebench.yaml", "-c", str(own)]


def _wrapper_args() -> list[str]:
    """What their bubblewrap is given as it comes."""
    code = "from minisweagent.environments.extra.bubblewrap import BubblewrapEnvironmentConfig as c; import json; "
    command = [str(CACHE / PEER / "bin/python"), "-c", f"{code}print(json.dumps(c().wrapper_args))"]
    env = os.environ | {"MSWEA_SILENT_STARTUP": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


WAYS = {"swarm": ours, PEER: theirs}


def measured(name: str, args: Sequence[Any], out: Path, number: int) -> dict[str, float]:
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    home = out.parent / "home"
    env |= {"PYTHONPATH": str(HERE.parent), "SWARM_HOME": str(home), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    env |= {"MSWEA_GLOBAL_CONFIG_DIR": str(home), "MSWEA_SILENT_STARTUP": "1", "MSWEA_CONFIGURED": "true"}
    env |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command, docker = WAYS[name](*args), args[-1] is not None
    engine, before, started = _engine(docker), resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
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
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": cpu, "engine_s": _engine(docker) - engine, "wall_s": wall}


def _engine(docker: bool) -> float:
    """CPU seconds of the Docker daemon that DOCKER_HOST names (the first one without it) and of its containerd."""
    if not docker:
        return 0.0
    socket = os.environ.get("DOCKER_HOST", "").removeprefix("unix://")
    total, daemon = 0.0, ""
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with suppress(OSError):
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            mine = name == "dockerd" and not daemon and socket in (folder / "cmdline").read_text()
            if mine or (name == "containerd" and fields[1] == daemon):
                daemon = folder.name if mine else daemon
                total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


@contextmanager
def image_with(base: str | None, repo: Path) -> Iterator[str | None]:
    """An image with the repository at /testbed, while it is needed."""
    if base is None:
        yield None
        return
    tag = "swarm-eval-overhead:latest"
    (repo.parent / "Dockerfile").write_text(f"FROM {base}\nCOPY repo /testbed\nWORKDIR /testbed\n")
    subprocess.run(["docker", "build", "-q", "-t", tag, "."], cwd=repo.parent, check=True, stdout=subprocess.DEVNULL)
    try:
        yield tag
    finally:
        subprocess.run(["docker", "rmi", "-f", tag], check=True, stdout=subprocess.DEVNULL)


KEYS = {"cpu_s": "CPU s", "engine_s": "engine's CPU s", "wall_s": "wall s"}


def table(kind: str, found: dict[str, dict[int, list[dict[str, float]]]], sizes: list[int]) -> None:
    """Medians (and the least and most) of each size; what an instance costs is the slope between the two."""
    few, many = min(sizes), max(sizes)
    print(f"\n{kind}, {len(COMMANDS) + 2} calls an instance, {machine()}")
    print(f"{'runner':16} {'instances':>9}" + "".join(f"{head:>22}" for head in KEYS.values()))
    each: dict[str, dict[str, float]] = {}
    for name, by_size in found.items():
        for size in sizes:
            cells = ""
            for key in KEYS:
                values = [run[key] for run in by_size[size]]
                spread = f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
                cells += f"{spread:>22}"
            print(f"{name:16} {size:9}{cells}")
        each[name] = {key: (_median(by_size[many], key) - _median(by_size[few], key)) / (many - few) for key in KEYS}
        start = {key: _median(by_size[few], key) - few * each[name][key] for key in KEYS}
        for title, row in (("each", each[name]), ("start", start)):
            print(f"{name:16} {title:>9}" + "".join(f"{row[key]:22.3f}" for key in KEYS))
    ratios = (
        f"{title} {each['swarm'][key] / each[PEER][key]:.2f}" for key, title in KEYS.items() if each[PEER][key] > 0
    )
    print(f"ours / theirs, each instance: {', '.join(ratios)}", flush=True)


def _median(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def install() -> None:
    folder = CACHE / PEER
    if not (folder / "bin/mini-extra").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(folder / "bin/python"), "-m", "pip", "install", "-q", *PACKAGES], check=True)


def main(options: argparse.Namespace) -> None:
    if options.install:
        install()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    figures = {}
    for base in options.sandbox:
        base = None if base == "bubblewrap" else base
        kind = f"docker, {base}" if base else "bubblewrap"
        found: dict[str, dict[int, list[dict[str, float]]]] = {
            name: {size: [] for size in options.instances} for name in WAYS
        }
        with tempfile.TemporaryDirectory(prefix="eval-overhead-") as temporary:
            folder = Path(temporary)
            repo = repository(folder)
            with endpoint(script(folder)) as url, image_with(base, repo) as image:
                for turn in range(options.rounds):
                    for size in options.instances:
                        for name in WAYS:
                            out = folder / f"{name}-{size}-{turn}"
                            args = (url, repo, out, size, options.workers, image)
                            found[name][size].append(measured(name, args, out, size))
        table(kind, found, options.instances)
        figures[kind] = found
    save(options.json, workers=options.workers, found=figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--instances", type=int, nargs=2, default=[4, 24], help="two sizes of the evaluation")
    parser.add_argument("--workers", type=int, default=4, help="instances at once")
    parser.add_argument(
        "--sandbox",
        metavar="bubblewrap|IMAGE",
        nargs="+",
        default=["bubblewrap"],
        help="an image has bash, git, python3",
    )
    parser.add_argument("--install", action="store_true", help=f"make the environment of {PEER} first")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    main(parser.parse_args())
