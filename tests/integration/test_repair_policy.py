"""The policy `repair` at work on small packages with planted faults, with the tools played by this file."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from swarm.embedded.policy import PolicyRequest
from swarm.embedded.repair.policy import RepairPolicy

GATE = f"{shlex.quote(sys.executable)} -m pytest -q"
ENV = {"PATH": os.environ["PATH"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
TOOLS = tuple(
    {"type": "function", "function": {"name": name, "parameters": {"properties": {"status": {}}}}}
    for name in ("bash", "read", "write", "edit", "submit")
)


class Bench:
    """The runtime in small: executes the policy's calls in a folder until it submits."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.patience = 600  # seconds of a processor, for tests that hang before they are repaired

    def work(self, user: str, turns: int = 40) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [{"role": "system", "content": "tools"}, {"role": "user", "content": user}]
        for turn in range(turns):
            reply = RepairPolicy().reply(PolicyRequest(tuple(messages), TOOLS))
            assert reply.tool_calls, reply.content
            calls = [(f"c{turn}.{n}", call) for n, call in enumerate(reply.tool_calls)]
            wire = [
                {"id": i, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for i, c in calls
            ]
            messages.append({"role": "assistant", "content": reply.content, "tool_calls": wire})
            for key, call in calls:
                arguments = json.loads(call.arguments)
                if call.name == "submit":
                    return {**arguments, "turns": turn + 1}
                content = getattr(self, "_" + call.name)(**arguments)
                messages.append({"role": "tool", "tool_call_id": key, "content": content})
        pytest.fail("the policy does not come to an end")

    def _bash(self, command: str, timeout: float) -> str:
        limited = command if "swarm_repair" in command else f"ulimit -t {self.patience}; {command}"
        process = subprocess.Popen(
            ["bash", "-c", limited], cwd=self.root, stdout=-1, stderr=-2, text=True, start_new_session=True, env=ENV
        )
        try:
            output = process.communicate(timeout=timeout)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"{process.communicate()[0]}[timed out after {timeout} s]"
        if process.returncode in (-signal.SIGXCPU, 128 + signal.SIGXCPU, -signal.SIGKILL, 128 + signal.SIGKILL):
            return f"{output}[timed out after {timeout} s]"
        return f"{output}[exit code {process.returncode}]"

    def _write(self, path: str, content: str) -> str:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(content, encoding="utf-8")
        return "Wrote it."

    def _edit(self, path: str, old_string: str, new_string: str) -> str:
        text = (self.root / path).read_bytes().decode()
        assert text.count(old_string) == 1
        (self.root / path).write_bytes(text.replace(old_string, new_string).encode())
        return "Edited."

    def gate(self) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"],
            cwd=self.root, capture_output=True, text=True, env={**ENV, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        head = f"Test command: `{GATE}`\n\nOutput of the test command (exit code {done.returncode}):"
        return f"{head}\n```\n{done.stdout}\n```"


def files(root: Path) -> Mapping[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def make(root: Path, source: str, tests: str, package: str = "thing.py") -> Bench:
    for name, text in ((package, source), ("tests/test_thing.py", tests)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(dedent(text), encoding="utf-8")
    return Bench(root)


def subtask(*ids: str) -> str:
    tests = "\n".join(ids)
    return f"Fix it.\n\nTest command: `{GATE}`\n\n# Your sub-task\n\nSub-task 01-x: Repair\n\nTests:\n\n{tests}\n"


def test_a_comparison_is_repaired_and_nothing_else_changes(tmp_path: Path) -> None:
    bench = make(
        tmp_path,
        """
        def clamp(value, low, high):
            if value > low:
                return low
            return min(value, high)
        """,
        """
        import pytest
        from thing import clamp

        @pytest.mark.parametrize("value, expected", [(5, 5), (-1, 0), (11, 10)], ids=["in - side", "be[low", "above"])
        def test_clamp(value, expected):
            assert clamp(value, 0, 10) == expected

        def test_equal():
            assert clamp(0, 0, 10) == 0
        """,
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-config\n")  # without the plugin, no cache_dir
    before = files(tmp_path)
    asked = subtask("tests/test_thing.py::test_clamp[in - side]", "tests/test_thing.py::test_clamp[be[low]")
    end = bench.work(asked.replace(GATE, f"{GATE} -p no:cacheprovider"))
    assert end["status"] == "done", end
    assert "thing.py:3 `if value > low:` -> `if value < low:`" in end["summary"]
    assert end["turns"] <= 8
    assert {name for name, data in files(tmp_path).items() if before.get(name) != data} == {"thing.py"}


def test_mutants_that_loop_are_ended(tmp_path: Path) -> None:
    bench = make(
        tmp_path,
        """
        def digits(number):
            found = []
            while number > 0:
                found.insert(0, number % 10)
                number = number * 10
            return found
        """,
        """
        from thing import digits

        def test_digits():
            assert digits(120) == [1, 2, 0]

        def test_none():
            assert digits(0) == []
        """,
    )
    bench.patience = 2
    end = bench.work(subtask("tests/test_thing.py::test_digits"))
    assert end["status"] == "done", end
    assert "number // 10" in (tmp_path / "thing.py").read_text()


def test_what_cannot_be_repaired_is_said_and_left_alone(tmp_path: Path) -> None:
    bench = make(
        tmp_path,
        """
        def checksum(text):
            return len(text)
        """,
        """
        from pathlib import Path
        from thing import checksum

        def test_checksum():
            Path("left-behind").write_text("x")
            assert checksum("swarm") == 219028

        def test_empty():
            assert checksum("") == 0
        """,
    )
    before = files(tmp_path)
    end = bench.work(subtask("tests/test_thing.py::test_checksum"))
    assert end["status"] == "failed"
    assert "No edit found" in end["summary"] and "Nothing was changed" in end["summary"]
    assert {**files(tmp_path), "left-behind": b""} == {**before, "left-behind": b""}


def test_two_faults_behind_one_sub_task(tmp_path: Path) -> None:
    bench = make(
        tmp_path,
        """
        def first(items):
            return items[1]

        def joined(items, sep=";"):
            return sep.join(sorted(items))

        LIMIT = 4

        def short(items):
            return items[:LIMIT]
        """,
        """
        from thing import first, joined, short

        def test_first():
            assert first([1, 2]) == 1

        def test_joined():
            assert joined(["b", "a"]) == "a;b"

        def test_short():
            assert short([1, 2, 3, 4, 5]) == [1, 2, 3]
        """,
        "src/thing/__init__.py",
    )
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\npythonpath = ["src"]\naddopts = "--strict-markers"\n'
    )
    end = bench.work(subtask("tests/test_thing.py::test_first", "tests/test_thing.py::test_short"))
    assert end["status"] == "done", end
    text = (tmp_path / "src/thing/__init__.py").read_text()
    assert "items[0]" in text and ("LIMIT = 3" in text or "LIMIT - 1" in text)


def test_partial_is_called_partial(tmp_path: Path) -> None:
    bench = make(
        tmp_path,
        """
        def last(items):
            return items[0]

        def secret():
            return 0
        """,
        """
        from thing import last, secret

        def test_last():
            assert last([1, 2, 3]) == 3

        def test_secret():
            assert secret() == "a word that nobody knows"
        """,
    )
    end = bench.work(subtask("tests/test_thing.py::test_last", "tests/test_thing.py::test_secret"))
    assert end["status"] == "partial", end
    assert "1 of 2 tests still fail (tests/test_thing.py::test_secret)" in end["summary"]
    assert "items[-1]" in (tmp_path / "thing.py").read_text()


def test_single_repairs_all_faults_and_an_import(tmp_path: Path) -> None:
    bench = make(
        tmp_path,
        """
        class Stack:
            def __init__(self):
                self.items = []

            def push(self, item):
                self.items.extend(item)

            def size(self):
                return len(self.items) + 1
        """,
        """
        from thing import Stack

        def test_push():
            s = Stack()
            s.push((1, 2))
            assert s.items == [(1, 2)]

        def test_size():
            assert Stack().size() == 0
        """,
    )
    (tmp_path / "other.py").write_text("def helper():\n    return 1\n\n\nVALUE = helpr()\n")
    (tmp_path / "tests/test_other.py").write_text("import other\n\n\ndef test_value():\n    assert other.VALUE == 1\n")
    end = bench.work(f"Repair it.\n\n{bench.gate()}")
    assert end["status"] == "done", end
    assert "A fresh run of the test command passes" in end["summary"]


def test_plan_then_sub_agents(tmp_path: Path) -> None:
    bench = make(
        tmp_path,
        """
        def middle(items):
            return sorted(items)[len(items) // 3]

        def total(items):
            return sum(items) // "1"
        """,
        """
        from thing import middle, total

        def test_middle():
            assert middle([3, 1, 2, 9]) == 3

        def test_total():
            assert total([1, 2]) == 3
        """,
    )
    form = {"type": "json_schema", "json_schema": {"name": "plan", "schema": {}}}
    message = {"role": "user", "content": f"# The task\n\nFix.\n\n{bench.gate()}"}
    plan = json.loads(RepairPolicy().reply(PolicyRequest((message,), (), form)).content)
    assert len(plan["subtasks"]) == 2
    for task in plan["subtasks"]:
        text = f"Test command: `{GATE}`\n\nSub-task {task['id']}: {task['title']}\n\n{task['instructions']}"
        assert bench.work(text)["status"] == "done"
    assert "exit code 0" in bench.gate()
