"""What `kill -9` at random moments of a run costs when it is resumed: what is done twice, what comes out otherwise.

    python benchmarks/crash.py [--kills 200] [--mode plan|parl|single] [--no-repo] [--sandbox bubblewrap|process|docker]
                               [--again 0.3] [--latency 0.1] [--seed 1] [--warm] [--json FILE]

One run is made undisturbed. Then, for each kill, the same run is begun anew in a process group of its own, killed at a
random moment (a moment after its journal has reached a random part of its length, so that a busy machine does not move
them to the start), and resumed; with the probability `--again` the resumed one is killed as well, and so on. The model
is a script behind an endpoint in a process of its own, which notes every request and every answer that it sent to its
end. With `--warm` the
runs are forked from a process that has imported all, which spares two seconds each. Counted, over all kills:

  calls paid twice     requests beyond those whose answer is in the journal and those that were in flight at a kill
  in flight            calls that were under way at a kill: nobody read their answer. Of these, `answered` had been sent
                       to their end by the endpoint: they are paid, and no client can know
  sub-tasks run twice  sub-tasks with a recorded end that made a call after a later start
  answers that differ  answer, patch, status, coverage, gate or number of sub-agents other than undisturbed

The aim is 0 for all but those in flight. Exit code 1 where it is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.warm import Process, Warm, warm_servers

Run = subprocess.Popen[bytes] | Process

SUBTASKS = 6
LIMIT_S = 300.0


# ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def use(name: str, /, **arguments: Any) -> dict[str, Any]:
    return {"tool_calls": [{"name": name, "arguments": arguments}]}


def script(mode: str, latency: float) -> dict[str, Any]:
    """What the model says. Commands do not depend on the shell's state, and doing one twice would show in the patch."""
    names = [f"t{n}" for n in range(SUBTASKS)] if mode == "plan" else [f"worker-{n + 1}" for n in range(SUBTASKS)]
    rules: list[dict[str, Any]] = []
    if mode == "plan":
        first = [
            {
                "id": name,
                "title": f"make {name}",
                "instructions": f"make {name}",
                "depends_on": names[n - 4 : n - 3] if n > 3 else [],
            }
            for n, name in enumerate(names[:-1])
        ]
        last = [{"id": names[-1], "title": "the last", "instructions": "what the gate wants"}]
        turns = [{"json": {"rationale": "r", "subtasks": each, "dropped": []}} for each in (first, last)]
        rules.append({"role": "planner", "turns": turns})
    elif mode == "parl":
        agents = [
            use("assign_task", agent="worker", prompt=f"make number {n}")["tool_calls"][0] for n in range(SUBTASKS)
        ]
        kind = use("create_subagent", name="worker", system_prompt="You make files.")["tool_calls"]
        own = use("bash", command="echo own >> own.txt")["tool_calls"]
        turns = [
            {"tool_calls": [*kind, *own]},
            {"tool_calls": agents[:4]},
            use("bash", command="echo more >> own.txt"),
            {"tool_calls": agents[4:]},
            {"content": "all files are made"},
        ]
        rules.append({"role": "planner", "turns": turns})
    for name in names:
        work = [
            use("bash", command=f"echo one >> {name}.txt"),
            use("write", path=f"{name}/note.md", content=f"notes of {name}\n"),
            use("bash", command=f"echo two >> {name}.txt; cat {name}.txt"),
            use("read", path=f"{name}.txt"),
            use("submit", status="done", summary=f"made {name}"),
        ]
        rules.append({"role": "subagent", "match": f"Sub-task {name}:", "turns": work})
    rules.append({"role": "aggregator", "turns": [{"content": f"all is made\n\nSources: {', '.join(names)}"}]})
    single = [use("bash", command=f"echo {n} >> file.txt") for n in range(2 * SUBTASKS)]
    rules.append({"role": "any", "turns": [*single, use("submit", status="done", summary="made the file")]})
    return {"first_token_s": {"median": latency, "sigma": 0.4}, "rules": rules}


@dataclass
class Case:
    """Where and how the run is made; forked by `warm`, where that is given."""

    folder: Path
    options: list[str]
    warm: Warm | None = None

    def environment(self, home: Path) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SWARM_", "OPENAI_"))}
        return {**kept, "SWARM_HOME": str(home)}

    def start(self, home: Path, *command: str) -> Run:
        if self.warm is not None:
            with (home / "stderr.txt").open("ab") as said, Path(os.devnull).open("wb") as nowhere:
                io = (None, nowhere.fileno(), said.fileno())
                return self.warm.start(command, self.folder, self.environment(home), io=io)
        return subprocess.Popen(
            [sys.executable, "-m", "swarm", *command],
            cwd=self.folder,
            env=self.environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(home / "stderr.txt").open("ab"),
            start_new_session=True,
        )

    def begin(self, home: Path) -> Run:
        return self.start(home, "run", "make the files", "--json", *self.options)


@dataclass
class Found:
    """What came of all kills."""

    kills: int = 0
    before_the_record: int = 0
    paid_twice: int = 0
    in_flight: int = 0
    answered: int = 0
    run_twice: list[str] = field(default_factory=list)
    differ: list[str] = field(default_factory=list)
    resume_s: list[float] = field(default_factory=list)


def outcome(home: Path) -> dict[str, Any]:
    """What must come out the same."""
    [folder] = (home / "runs").iterdir()
    result = json.loads((folder / "result.json").read_text())
    patch = folder / "patch.diff"
    kept = {
        key: result[key] for key in ("answer", "status", "exit_code", "coverage", "outcomes", "gate", "n_subagents")
    }
    return {**kept, "patch": patch.read_text() if patch.is_file() else "", "calls": accepted(events(home))}


def events(home: Path) -> list[dict[str, Any]]:
    lines = [path.read_bytes() for path in (home / "runs").glob("*/events.jsonl")]
    return [json.loads(line) for line in b"".join(lines).splitlines(keepends=True) if line.endswith(b"\n")]


def accepted(said: list[dict[str, Any]]) -> int:
    return sum(event["type"] == "call" and event["accepted"] for event in said)


def size(home: Path) -> int:
    """Bytes of the journal."""
    return sum(path.stat().st_size for path in (home / "runs").glob("*/events.jsonl"))


def kill(process: Run, home: Path, whole: int, chance: random.Random) -> bool:
    """Kill it when its journal has reached a part of `whole` bytes, or a little later; unless it ended by then."""
    there = size(home)
    wanted = chance.uniform(there, max(whole, there))
    while process.poll() is None and size(home) < wanted:
        time.sleep(0.002)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(chance.uniform(0.0, 0.2))
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def one(case: Case, home: Path, log: Path, length: int, again: float, chance: random.Random, found: Found) -> None:
    """One run, killed and resumed until it comes to its end."""
    log.write_bytes(b"")
    killed = kill(case.begin(home), home, length, chance)
    while killed:
        found.kills += 1
        started = time.monotonic()
        if not events(home):
            found.before_the_record += 1
            shutil.rmtree(home / "runs", ignore_errors=True)
            process = case.begin(home)
        else:
            process = case.start(home, "resume", "last", "--json")
        killed = chance.random() < again and kill(process, home, length, chance)
        if not killed:
            process.wait(LIMIT_S)
            found.resume_s.append(time.monotonic() - started)
    count(home, log, found)


def count(home: Path, log: Path, found: Found) -> None:
    said = events(home)
    notes = Counter(line.split()[0] for line in log.read_text().splitlines())
    lost = sum(event["type"] == "call" and event["error"] == "lost" for event in said)
    other = sum(event["type"] == "call" and not event["accepted"] and event["error"] != "lost" for event in said)
    found.in_flight += lost
    found.paid_twice += max(0, notes["asked"] - accepted(said) - lost - other)
    found.answered += max(0, notes["answered"] - accepted(said) - other)
    ended: set[str] = set()
    over: set[str] = set()
    for event in said:
        if event["type"] == "agent_end" and event["outcome"] == "completed":
            ended.add(event["trajectory_id"])
        elif event["type"] == "run_resume":
            over = ended - set(event["again"])
        elif event["type"] == "call_sent" and event["trajectory_id"] in over:
            found.run_twice.append(event["trajectory_id"])


@contextlib.contextmanager
def endpoint(path: Path, log: Path) -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("crash_server.py")), str(path), str(log)],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def prepare(folder: Path) -> Path:
    repo = folder / "repo"
    repo.mkdir()
    (repo / "a.txt").write_text("a\n")
    who = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *who, *command], cwd=repo, check=True)
    return repo


def measure(args: argparse.Namespace, folder: Path, warm: Warm | None) -> Found:
    path, log = folder / "script.json", folder / "log"
    path.write_text(json.dumps(script(args.mode, args.latency)))
    log.write_bytes(b"")
    chance, found = random.Random(args.seed), Found()
    with endpoint(path, log) as url:
        where = ["--no-repo"] if args.no_repo else ["--repo", str(prepare(folder))]
        if not args.no_repo and args.mode == "plan":
            where += ["--test", f"test -f t{SUBTASKS - 1}.txt"]
        model = ["--model", "embedded", "--base-url", url, "--mode", args.mode, "--sandbox", args.sandbox]
        case = Case(folder, [*where, *model, "--concurrency", "3"], warm)
        home = folder / "home-0"
        home.mkdir()
        started = time.monotonic()
        case.begin(home).wait(LIMIT_S)
        length, wanted = size(home), outcome(home)
        seconds = time.monotonic() - started
        print(f"undisturbed: {seconds:.1f} s, {wanted['calls']} calls, {wanted['status']}", flush=True)
        while found.kills < args.kills:
            home = folder / f"home-{found.kills + 1}"
            home.mkdir(exist_ok=True)
            one(case, home, log, length, args.again, chance, found)
            try:
                came = outcome(home)
            except (OSError, ValueError, KeyError) as error:
                came = {"none": str(error)}
            if came != wanted:
                keys = [key for key in wanted if came.get(key) != wanted[key]]
                found.differ.append(f"{home.name}: {', '.join(keys)}")
                print(f"{home} differs in {keys}: {[came.get(key) for key in keys]}", flush=True)
            else:
                shutil.rmtree(home)
            print(f"{found.kills} kills", end="\r", file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="kill -9 at random moments of a run, and resume it")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--mode", choices=("plan", "parl", "single"), default="plan")
    parser.add_argument("--no-repo", action="store_true")
    parser.add_argument("--sandbox", default="bubblewrap")
    parser.add_argument("--again", type=float, default=0.3, help="probability that a resumed run is killed as well")
    parser.add_argument("--latency", type=float, default=0.1, help="median seconds of a model call")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--warm", action="store_true", help="fork the runs from a process that has imported all")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs that differ")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="swarm-crash-"))
    with warm_servers() if args.warm else contextlib.nullcontext() as warm:
        found = measure(args, folder, warm)
    middle = sorted(found.resume_s)[len(found.resume_s) // 2] if found.resume_s else 0.0
    figures = {
        "kills": found.kills,
        "before anything was recorded": found.before_the_record,
        "calls paid twice": found.paid_twice,
        "in flight": found.in_flight,
        "in flight, answered": found.answered,
        "sub-tasks run twice": len(found.run_twice),
        "answers that differ": len(found.differ),
        "seconds from resume to end, median": round(middle, 1),
    }
    for name, value in figures.items():
        print(f"{name:<36} {value}")
    if args.json:
        Path(args.json).write_text(json.dumps({"mode": args.mode, "repo": not args.no_repo, **figures}, indent=2))
    if not (args.keep and found.differ):
        shutil.rmtree(folder)
    return 1 if found.paid_twice or found.run_twice or found.differ else 0


if __name__ == "__main__":
    sys.exit(main())
