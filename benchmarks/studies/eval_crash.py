"""Whether an evaluation loses or doubles verdicts when it is killed, and its sandboxes and graders fail.

    python -m benchmarks.studies.eval_crash [--instances 500] [--workers 32] [--fail 0.1] [--kills 3] [--seed 1]

Runs eval_crash_worker.py, kills its process group with SIGKILL at random moments (each when a random further part of
the verdicts is there), and starts the same command again until it comes to its end. Counted:

  verdicts          instances with one, of those asked for; `lines` in results.jsonl, of which none may be a second one
  wrong             verdicts that are not what the instance's number says
  run after verdict model calls, or gradings, of an instance in a process that began after its verdict was written
  calls repeated    model calls beyond the two of an instance: those in flight at a kill are made again, and those of
                    runs that were killed before their first record was on the disk

Exit code 1 where a verdict is lost, doubled, wrong, or made twice.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("eval_crash_worker.py")


def lines(out: Path) -> list[dict[str, Any]]:
    """The whole lines of the results."""
    path = out / "results.jsonl"
    data = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def verdicts(out: Path) -> set[str]:
    return {line["instance_id"] for line in lines(out) if line["resolved"] is not None}


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Kill it so many times, let it end, and count."""
    out, notes, chance = folder / "out", folder / "notes", random.Random(args.seed)
    options = [f"--{name}={getattr(args, name)}" for name in ("instances", "workers", "fail", "seed")]
    command = [sys.executable, str(WORKER), str(out), str(notes), *options]
    environment = {**os.environ, "SWARM_HOME": str(folder / "home")}
    before: dict[int, set[str]] = {}
    kills, ends, began = [], [], time.monotonic()
    marks = sorted(chance.uniform(0.05, 0.9) for _ in range(args.kills))
    while True:
        with (folder / "stderr").open("ab") as stderr:
            worker = subprocess.Popen(command, env=environment, stderr=stderr, start_new_session=True)
        before[worker.pid] = verdicts(out)
        if len(kills) < args.kills:
            wanted = int(marks[len(kills)] * args.instances)
            while worker.poll() is None and len(verdicts(out)) < wanted:
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 0.2))
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
                kills.append(len(verdicts(out)))
        ends.append(worker.wait())
        if ends[-1] >= 0 and (ends[-1] != 3 or len(ends) > args.kills + 5):  # what failed too often is run again
            break
    found = lines(out)
    again: list[str] = []
    calls: Counter[str] = Counter()
    broken = 0
    for note in notes.read_text().splitlines():
        process, what, name = note.split()
        calls[name] += what == "call"
        broken += what == "broke"
        if name in before[int(process)]:
            again.append(note)
    rights = {f"sum-{n}": n % 7 != 0 for n in range(args.instances)}
    report = json.loads((out / "report.json").read_text())
    return {
        "verdicts": len(verdicts(out)),
        "asked for": args.instances,
        "lines": len(found),
        "lines a second time": len(found) - len({line["instance_id"] for line in found}),
        "without a verdict": sum(line["resolved"] is None for line in found),
        "wrong": sum(line["resolved"] is not rights[line["instance_id"]] for line in found),
        "resolved in the report": len(report["resolved_ids"]),
        "answers in the file": len(json.loads((out / "answers.json").read_text())),
        "run or graded after the verdict": len(again),
        "killed at so many verdicts": kills,
        "exit codes": ends,
        "sandboxes that broke": broken,
        "calls repeated": sum(calls.values()) - 2 * args.instances,
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="kill -9 at random moments of an evaluation, and start it again")
    parser.add_argument("--instances", type=int, default=500)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--fail", type=float, default=0.1, help="part of the sandboxes, and of the gradings, that fail")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="swarm-eval-crash-"))
    found = measure(args, folder)
    for name, value in found.items():
        print(f"{name:<36} {value}")
    whole = found["verdicts"] == found["lines"] == found["answers in the file"] == args.instances
    once = not (found["lines a second time"] or found["run or graded after the verdict"] or found["wrong"])
    good = whole and once and found["resolved in the report"] == sum(n % 7 != 0 for n in range(args.instances))
    if args.keep or not good:
        print(folder)
    else:
        shutil.rmtree(folder)
    return 0 if good and found["exit codes"][-1] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
