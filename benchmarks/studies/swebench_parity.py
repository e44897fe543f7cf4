"""Whether grading here and the official harness's own run say the same of each test, for gold patches and for one that
changes nothing, in the same images.

    python -m benchmarks.studies.swebench_parity --dataset FILE --ids A,B --swebench-python PATH --out DIR

Most of the official time is its waiting for `docker stop`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from swarm.evals.swebench.rows import Row, load_rows

OFFICIAL = Path(__file__).parents[2] / "tests/interop/swebench_official.py"
NOTHING = """diff --git a/SWARM_NOTE.txt b/SWARM_NOTE.txt
new file mode 100644
index 0000000..e965047
--- /dev/null
+++ b/SWARM_NOTE.txt
@@ -0,0 +1 @@
+Hello
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--ids", default="")
    parser.add_argument("--swebench-python", default=sys.executable)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--timeout", type=int, default=1800)
    args = parser.parse_args()
    wanted = [id for id in args.ids.split(",") if id]
    rows = [row for row in load_rows(args.dataset) if not wanted or row.instance_id in wanted]
    args.out.mkdir(parents=True, exist_ok=True)
    print("| instance | patch | here | official | tests | per test | s here | s official |\n|" + "---|" * 8)
    same = True
    for row in rows:
        for kind, patch in (("gold", row.patch), ("nothing", NOTHING)):
            same &= _compare(args, row, kind, patch)
    return 0 if same else 1


def _compare(args: argparse.Namespace, row: Row, kind: str, patch: str) -> bool:
    id = row.instance_id
    place = args.out.resolve() / kind / id
    place.mkdir(parents=True, exist_ok=True)
    predictions = {id: {"instance_id": id, "model_name_or_path": kind, "model_patch": patch}}
    for name, content in (("rows.json", [row.raw]), ("preds.json", predictions)):
        (place / name).write_text(json.dumps(content, default=str))
    ours, official = place / "here", place / "official"
    official.mkdir(exist_ok=True)
    grade = [sys.executable, "-m", "swarm", "eval", "swebench", "grade", place / "preds.json"]
    options = ["--dataset", place / "rows.json", "--out", ours, "--test-timeout", args.timeout]
    began = time.monotonic()
    _run([*grade, *options, "--swebench-python", args.swebench_python])
    between = time.monotonic()
    script = [args.swebench_python, OFFICIAL, place / "rows.json", place / "preds.json", official, args.timeout, ours]
    _run(script)
    ended = time.monotonic()
    theirs = json.loads((official / "found.json").read_text())["instances"][id]
    mine = json.loads((ours / "instances" / id / "report.json").read_text())[id]
    equal = theirs["status"] == theirs["other"] and mine.get("tests_status") == (theirs["report"] or {}).get(
        "tests_status"
    )
    verdicts = ["resolved" if each and each["resolved"] else "not" for each in (mine, theirs["report"])]
    print(
        f"| {id} | {kind} | {verdicts[0]} | {verdicts[1]} | {len(theirs['status'])} | "
        f"{'equal' if equal else 'DIFFERENT'} | {between - began:.0f} | {ended - between:.0f} |",
        flush=True,
    )
    return equal and verdicts[0] == verdicts[1]


def _run(command: list[Any]) -> None:
    done = subprocess.run([str(word) for word in command], env=os.environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stderr[-2000:], file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
