"""Files that somebody else wrote: configuration, settings of test runners, data sets, answers to be graded, results."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from swarm.config import load_config
from swarm.discovery.search import find_tests
from swarm.embedded.script import load_script
from swarm.errors import MachineError, UsageError
from swarm.evals.records import read_manifest, read_results
from swarm.evals.runner.past import is_unusable, result_in
from swarm.evals.swebench.predictions import as_lines, as_map, read_predictions
from swarm.evals.swebench.rows import load_rows
from swarm.evals.widesearch.data import load_questions
from swarm.evals.widesearch.metrics import JUDGED, METRICS, PREPROCESS, Unmeasurable, compare
from swarm.evals.widesearch.responses import read_responses
from swarm.evals.widesearch.tables import read_table
from swarm.forecast.history import past_rows
from swarm.gating.imports import imports
from swarm.gating.pytest_rules import SETTINGS, rules
from swarm.models.providers import declared_in
from swarm.rl.tasks.files import load_tasks
from swarm.sandboxes.git.apart import apart_of
from swarm.sandboxes.git.repository import remembered
from swarm.sandboxes.leases.lease import holder
from swarm.sandboxes.leases.records import read_record
from swarm.toml_file import read_toml
from swarm.tools.mcp_config import load_servers
from tests.effort import examples
from tests.fuzz.hostile import BYTES, DIGITS, mutated, nested

MANY = settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
TOML = b"""model = "m"
base_url = ["http://a/v1"]
budget_usd = 1.5
max_agents = 3
[providers.mine]
base_url = "http://b/v1"
like = "openai"
[sandbox_env]
A = "x"
"""
RUNNERS = {
    "pytest.ini": b"[pytest]\ntestpaths = tests 'a b'\npython_files = test_*.py\naddopts = -q --ignore x\n",
    "pyproject.toml": b'[tool.pytest.ini_options]\ntestpaths = ["tests"]\npython_files = "x_*.py"\naddopts = "-q"\n',
    "tox.ini": b"[pytest]\naddopts = -q\n[testenv]\ncommands = pytest\n",
    "setup.cfg": b"[tool:pytest]\ntestpaths = a\n",
    "package.json": b'{"scripts": {"test": "jest"}, "packageManager": "pnpm@9"}',
    "deno.jsonc": b'{/* c */ "tasks": {"test": "deno test",},}',
    "Makefile": b"include x.mk\ntest: a b\n\tpytest\n.PHONY: test\n",
    "Cargo.toml": b'[package]\nname = "x"\n[workspace]\nmembers = ["a"]\n',
    "go.work": b"use (\n\t./a\n)\n",
    "CMakeLists.txt": b"enable_testing()\n",
    "Rakefile": b"Rake::TestTask.new\n",
}
ROW = {
    "instance_id": "a__b-1",
    "repo": "a/b",
    "base_commit": "0123456789abcdef",
    "FAIL_TO_PASS": '["t"]',
    "PASS_TO_PASS": [],
}
QUESTION = {
    "instance_id": "ws_1",
    "query": "Which?",
    "language": "en",
    "evaluation": {
        "unique_columns": ["City"],
        "required": ["City", "People"],
        "eval_pipeline": {
            "City": {"preprocess": ["norm_str"], "metric": ["exact_match"]},
            "People": {"preprocess": ["extract_number"], "metric": ["number_near"], "criterion": 0.1},
        },
    },
}
RESULT = {"instance_id": "a", "arm": "x", "resolved": True, "score": 1.0, "status": "completed"}
SERVERS = {"mcpServers": {"one": {"command": "x", "args": ["${HOME:-a}"], "env": {"A": "${B:-}"}, "tools": ["*"]}}}
SCRIPT = {"rules": [{"role": "planner", "match": "a(b)", "turns": [{"content": "{{x}}"}]}], "faults": []}


def lines(*values: object) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


READERS: Mapping[str, tuple[bytes, Callable[[Path], object]]] = {
    "swarm.toml": (TOML, lambda path: load_config({}, {"HOME": "/nonexistent"}, path.parent)),
    "any.toml": (TOML, read_toml),
    "preds.json": (json.dumps({"a": {"model_patch": "x"}}).encode(), read_predictions),
    "preds.jsonl": (lines({"instance_id": "a", "model_patch": None}, {"instance_id": "b"}), read_predictions),
    "rows.json": (json.dumps([ROW]).encode(), lambda path: load_rows(str(path))),
    "rows.jsonl": (lines(ROW, {**ROW, "instance_id": "c"}), lambda path: load_rows(str(path))),
    "questions.jsonl": (lines(QUESTION), lambda path: load_questions(str(path))),
    "questions.json": (json.dumps([QUESTION]).encode(), lambda path: load_questions(str(path))),
    "responses.jsonl": (
        lines({"instance_id": "ws_1", "response": "|a|", "trial": 0}, {"instance_id": "ws_1", "response": None}),
        lambda path: read_responses(path, ["ws_1"]),
    ),
    "eval.json": (
        json.dumps({"suite": "s", "version": "1", "arms": [{"name": "a", "mode": "plan"}], "instances": []}).encode(),
        lambda path: read_manifest(path.parent),
    ),
    "results.jsonl": (lines(RESULT, RESULT), lambda path: read_results(path.parent)),
    "result.json": (b"{}", lambda path: (result_in(path.parent), is_unusable(path.parent))),
    "mcp.json": (json.dumps(SERVERS).encode(), lambda path: load_servers(path, {})),
    "script.json": (json.dumps(SCRIPT).encode(), load_script),
    "script.toml": (b'[[rules]]\nrole = "planner"\nturns = [{content = "x"}]\n', load_script),
    "tasks.jsonl": (lines({"prompt": "p", "answer": "3", "id": "a"}, {"question": "q"}), load_tasks),
    "measured.json": (b"{}", lambda path: past_rows(path.parent.parent)),
    "apart.json": (b'{"modules": [], "absent": []}', lambda path: apart_of(path.parent)),
    "began.json": (b'{"base": "x", "head": "y", "date": 1}', lambda path: remembered(path.parent)),
    "pids": (b"1 2\nx\n", read_record),
}
"""By name of the file: one that is as it should be, and who reads it."""


@pytest.mark.parametrize("name", READERS)
@MANY
@given(data=st.data())
def test_a_file_is_read_or_refused(name: str, data: st.DataObject, tmp_path: Path) -> None:
    valid, read = READERS[name]
    given = (*BYTES, nested().encode(), nested('{"a":', "}").encode(), DIGITS.encode(), b"NaN", b"1e999", b'"\\ud800"')
    (tmp_path / name).write_bytes(data.draw(mutated([valid], given)))
    with contextlib.suppress(UsageError, MachineError, *((OSError, ValueError) if read is read_toml else ())):
        read(tmp_path / name)


ODD = (
    *(b"", b"\0", b"\xff\xfe\0", b"null", b"[]", b"[1]", b"{}", b"3", b'"x"', b"\xef\xbb\xbf{}", b"NaN", b"\n\n"),
    *(nested().encode(), nested('{"a":', "}").encode(), DIGITS.encode(), b'["\\ud800"]', b'{"\\ud800": {}}'),
    *(nested('{"mcpServers": {"a": {"env": ', "}}}", "1", 300).encode(), b'{"a": "x"}', b'{"instance_id": "a"}'),
    b'{"mcpServers": {"a": ' + nested("[", "]", "", 600).encode() + b"}}",
    *(b"a = " + nested().encode(), b"a = " + DIGITS.encode(), b"a = 1979-05-27", b"a = nan"),
    *(b".".join([b"a"] * 2_000) + b" = 1", b'[["instance_id", "a"]]', b'{"a": ["instance_id", 1]}'),
)


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_none(name: str, tmp_path: Path) -> None:
    read = READERS[name][1]
    for data in ODD:
        (tmp_path / name).write_bytes(data)
        with contextlib.suppress(UsageError, MachineError, *((OSError, ValueError) if read is read_toml else ())):
            read(tmp_path / name)


@MANY
@given(st.sampled_from(sorted(RUNNERS)), st.data())
def test_a_repository_of_any_files_is_searched_for_tests(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / name).write_bytes(data.draw(mutated([RUNNERS[name]])))
    find_tests(folder)


@settings(max_examples=examples(50))
@given(st.sampled_from(SETTINGS), st.data())
@example("pytest.ini", "[pytest]\ntestpaths = 'a\n")
@example("pyproject.toml", "[tool.pytest.ini_options]\ntestpaths = 5\n")
@example("pyproject.toml", '[tool.pytest.ini_options]\npython_files = "\'"\naddopts = true\n')
@example("pyproject.toml", "[tool.pytest.ini_options]\ntestpaths = '" + "a b " * 20_000 + "'\n")
@example("setup.cfg", "[tool:pytest]\n" + "a = b\n" * 2_000)
def test_settings_of_pytest_are_rules_or_a_doubt(name: str, data: Any) -> None:
    valid = RUNNERS.get(name.removeprefix("."), b"")
    text = data if isinstance(data, str) else data.draw(mutated([valid])).decode("utf-8", "replace")
    found = rules(name, text)
    if found is not None and not found.doubt:
        assert isinstance(found.runs("tests/test_a.py", ("tests",)), bool)
        assert all(isinstance(each, str) for each in (*found.patterns, *found.paths))


@settings(max_examples=examples(25))
@given(mutated([b"from . import a\nfrom .b import (c, # d\n e)\nimport x.y as z, w\ns = 'a.b.c'\n"]))
@example(b"from a import (\n" * 3_000)
@example(b"from .. " * 5_000)
@example(b"from " + b". " * 5_000 + b"import x")
def test_imports_of_any_source_are_found(source: bytes) -> None:
    imports(source.decode("utf-8", "replace"))


@settings(max_examples=examples(25))
@given(mutated([json.dumps({"data": [{"id": "m", "max_model_len": 4096, "capabilities": {"tools": True}}]}).encode()]))
@example(nested().encode())
@example(b'{"data": [{"id": "m", "max_model_len": 1e999}]}')
@example(b'{"data": [{"id": "m", "max_model_len": true, "swarm": 3}]}')
@example(b'{"data": {"id": "m"}}')
@example(b'{"data": [{"id": "m", "swarm": {"tools": []}}]}')
def test_a_list_of_models_tells_a_window_or_nothing(data: bytes) -> None:
    told = declared_in(data, "m")
    assert told.context_tokens is None or told.context_tokens > 0


CELLS = ["1,234.5 %", "2020-01-02", "http://a.org/x", "Bonn|Ulm", "inf", "1e999", "-", "\ud800", DIGITS, "٣", "\0", ""]


@settings(max_examples=examples(3))
@given(st.sampled_from(CELLS) | st.text(max_size=30), st.sampled_from(CELLS) | st.text(max_size=30), st.sampled_from([0.1, "x", None, [], 1e999]))  # fmt: skip  # noqa: E501
def test_cells_of_any_text_are_compared(one: str, other: str, criterion: Any) -> None:
    for metric in METRICS:
        if metric != JUDGED:
            with contextlib.suppress(Unmeasurable):
                assert 0 <= compare(metric, one, other, criterion) <= 1
    assert all(isinstance(change(one), str) for change in PREPROCESS.values())


@settings(max_examples=examples(25))
@given(mutated([b'City,People\r\nBonn,1\nUlm,"a\n""b"\n', b"City|People\nBonn|1\n"]), st.sampled_from([",", "|"]))
@example(b'"' * 20_001, ",")
@example(b" " * 20_000 + b"," + b"\n" * 20_000, ",")
@example(b",".join([b"a"] * 2_000), ",")
def test_a_table_of_any_text_is_read_or_refused(data: bytes, separator: str) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        read_table(text, separator)


def test_an_owner_of_a_lease_is_told_as_far_as_it_can_be(tmp_path: Path) -> None:
    for data in (b"", b"[]", nested().encode(), b'{"pid": 1e999, "program": [], "since": {}}', DIGITS.encode()):
        with (tmp_path / "lock").open("wb+") as file:
            file.write(data)
            file.flush()
            assert isinstance(holder(file.fileno()).program, str)


def test_what_was_read_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"\ud800": {"model_patch": "\ud800", "model_name_or_path": "\udcff"}}))
    read = read_predictions(path)
    assert as_lines(read) and as_map(read)
