"""The official harness runs instances, as a program in its environment: ROWS PREDICTIONS FOLDER TIMEOUT [OTHER].

It writes FOLDER/found.json: by instance its report and the status of each test, and what its parser makes of the output
of tests in the folder OTHER of an evaluation.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    rows, predictions = (json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:3])
    os.chdir(sys.argv[3])
    evaluation, grading, reporting, utils = (
        import_module(f"swebench.harness.{name}") for name in ("run_evaluation", "grading", "reporting", "utils")
    )
    client = import_module("docker").from_env()
    found = {}
    for row in rows:
        spec = utils.make_test_spec(row)
        id = row["instance_id"]
        prediction = predictions[id]
        if prediction["model_patch"]:
            done = evaluation.run_instance(spec, prediction, client, "one", int(sys.argv[4]))
            log = Path(
                f"logs/run_evaluation/one/{prediction['model_name_or_path']}/{row['instance_id']}/test_output.txt"
            )
            status = grading.get_logs_eval(spec, str(log))[0] if done else {}
            found[id] = {"report": done and done[1][id], "status": status}
            if len(sys.argv) > 5:
                other = Path(sys.argv[5], "instances", id, "test_output.txt")
                found[id]["other"] = grading.get_logs_eval(spec, str(other))[0] if other.exists() else {}
    whole = reporting.make_run_report(predictions, rows, "one")
    Path("found.json").write_text(json.dumps({"instances": found, "whole": json.loads(whole.read_text())}))


if __name__ == "__main__":
    main()
