"""The `swebench` package at work, in a process of its own: it imports for seconds, and may live in an environment that
is not ours. Run as a program; it knows nothing of this project. A request a line of JSON on standard input, an answer
a line on standard output, with the request's `number`.

    {"do": "about"}                                   version, and how a patch is applied
    {"do": "spec", "row": ROW}                        image, eval_script
    {"do": "report", "row": ROW, "prediction": P, "log": PATH}
                                                      report, status (test: status), outside, reason
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from typing import Any

FIELDS = ("eval_script", "log_parser", "eval_type")


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what is printed there by others is no answer
    package: Package | None = None
    for line in sys.stdin:
        request = json.loads(line)
        number = request.pop("number", 0)
        try:
            package = package or Package()
            answer: dict[str, Any] = {"is": getattr(package, request.pop("do"))(**request)}
        except ImportError as error:
            answer = {"missing": str(error)}
        except Exception as error:  # noqa: BLE001  told to whoever asked
            answer = {"wrong": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps({"number": number, **answer}) + "\n")
        answers.flush()


class Package:
    """swebench 5, whose rows bring their specifications, or swebench 4, which makes them by repository and version."""

    def __init__(self) -> None:
        self.version = importlib.metadata.version("swebench")
        self.new = int(self.version.split(".")[0]) >= 5
        self.grading = import_module("swebench.harness.grading")

    def about(self) -> dict[str, Any]:
        commands = list(import_module("swebench.harness.run_evaluation").GIT_APPLY_CMDS)
        refused = import_module("swebench.harness.constants").APPLY_PATCH_FAIL
        return {"version": self.version, "apply": commands, "anew": self.new, "refused": refused}

    def spec(self, row: dict[str, Any]) -> dict[str, Any]:
        spec = self._spec(row)
        assets = getattr(spec, "image_assets", None) or {}
        return {"eval_script": spec.eval_script, "assets": sum(len(found or ()) for found in assets.values())}

    def report(self, row: dict[str, Any], prediction: dict[str, Any], log: str) -> dict[str, Any]:
        """The report. Where nothing stands between the first markers, the package reads all of the log, and what
        `git show` prints of a patch would count as tests: there it resolves only by what stands where the tests ran."""
        spec = self._spec(row)
        status, _ = self.grading.get_logs_eval(spec, log)
        report = self.grading.get_eval_report(spec, prediction, log, True)
        outside = False
        if report[row["instance_id"]]["resolved"] and not self._status(spec, _between(log)):
            within = _where_tests_ran(log)
            with _file(within) as inner:
                other = self.grading.get_eval_report(spec, prediction, inner, True)
            if not other[row["instance_id"]]["resolved"]:
                outside, report, status = True, other, self._status(spec, within)
        reason = None
        with contextlib.suppress(ImportError):  # swebench 4 has none
            reason = import_module("swebench.harness.infra_failure").classify_logs(log)
        return {"report": report, "status": status, "outside": outside, "reason": reason}

    def _status(self, spec: Any, text: str) -> dict[str, str]:
        with _file(text) as log:
            status: dict[str, str] = self.grading.get_logs_eval(spec, log)[0]
        return status

    def _spec(self, row: dict[str, Any]) -> Any:
        if self.new:
            lacking = [name for name in FIELDS if not row.get(name)]
            if lacking:
                raise ValueError(
                    f"the data has no {', '.join(lacking)}, and swebench {self.version} makes none: use newer data, "
                    "or an interpreter with swebench 4 (--swebench-python)"
                )
            return import_module("swebench.harness.utils").make_test_spec({"image": "", "version": "", **row})
        module = import_module("swebench.harness.test_spec.test_spec")
        return module.make_test_spec(row, namespace="swebench")


def _read(log: str) -> str:
    with open(log, encoding="utf-8", errors="replace", newline="") as file:
        return file.read()


def _between(log: str) -> str:
    """What stands between the first two markers, with them: where the package looks first."""
    constants = import_module("swebench.harness.constants")
    start, end = constants.START_TEST_OUTPUT, constants.END_TEST_OUTPUT
    inside = _read(log).split(start)[1].split(end)[0]
    return f"{start}{inside}{end}"


def _where_tests_ran(log: str) -> str:
    """The log from where the tests began to run: the last such line before the last end."""
    constants = import_module("swebench.harness.constants")
    content = _read(log)
    end = content.rfind(constants.END_TEST_OUTPUT)
    traced = re.compile(rf"^\++ : '{re.escape(constants.START_TEST_OUTPUT)}'", re.MULTILINE)
    starts = [match.start() for match in traced.finditer(content, 0, end)]
    return content[starts[-1] if starts else content.rfind(constants.START_TEST_OUTPUT, 0, end) :]


@contextlib.contextmanager
def _file(text: str) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        yield file.name


if __name__ == "__main__":
    main()
