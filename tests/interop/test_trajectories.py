"""The log and its exports, read by the packages that they are for: pandas, polars, DuckDB and HF `datasets`; harbor,
verifiers, TRL, torch. What they read is what the journal holds.

Takes a minute or two; the first time 3 GB are installed. Run by `make test-interop`.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm.cli.main import main
from swarm.rl.reading import RunLog
from tests.interop.servers import Require, environment
from tests.rollouts import Log, make_run

OWN = ("pydantic>=2.10", "anyio>=4.14")
TABLES = ("pyarrow>=26", "pandas>=3", "polars>=2", "duckdb>=2", "datasets>=5", *OWN)
HARBOR = ("harbor>=0.24",)
VERIFIERS = ("verifiers==0.4.0",)
TRAINERS = ("trl>=1.16", "torch>=2.13", "datasets>=5", *OWN)
VERL = (
    "torch>=2.13",
    "ray>=2.41",
    "tensordict>=0.8,<=0.10,!=0.9.0",
    "transformers>=5.5.3,<5.11",
    "hydra-core",
    "pillow",
)
VERL_TOO = ("codetiming", "cachetools", "fastapi", "uvicorn", "pandas", "datasets>=5")
READERS = Path(__file__).with_name("foreign_readers.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


Read = Callable[..., Any]


@pytest.fixture
def read(require: Require, tmp_path: Path) -> Read:
    """What a reader finds, in an environment with its packages."""

    def found(
        name: str,
        packages: tuple[str, ...],
        *arguments: object,
        python: str = sys.executable,
        alone: tuple[str, ...] = (),
    ) -> Any:
        programs = environment(name, packages, require, python, alone)
        command = [str(programs / "python"), str(READERS), *map(str, arguments), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return found


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Callable[[str], Path]:
    def write(form: str) -> Path:
        out = tmp_path / f"{form}.jsonl"
        assert main(["export", str(run), "--format", form, "--out", str(out)]) == 0
        return out

    return write


Export = Callable[[str], Path]


@pytest.fixture(scope="module")
def columns(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Require], Path]:
    """A folder with the log as JSON lines and as Parquet."""

    def written(require: Require) -> Path:
        if not (run / "tokens.parquet").exists():  # pyarrow is not in this environment
            programs = environment("tables", TABLES, require)
            code = "import sys; from pathlib import Path; from swarm.journal.parquet import write_parquet"
            writes = f"{code}; write_parquet(*map(Path, sys.argv[1:]))"
            command = [str(programs / "python"), "-c", writes, str(run), str(run)]
            subprocess.run(command, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
        return run

    return written


@pytest.mark.parametrize("name", ["pandas", "polars", "duckdb", "datasets"])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_the_log_is_read(
    name: str, form: str, read: Read, columns: Callable[[Require], Path], require: Require
) -> None:
    folder = columns(require)
    log = Log.read(folder)
    tokens = read("tables", TABLES, "table", name, folder / f"tokens.{form}")
    assert [row["completion_ids"] for row in tokens] == [line["completion_ids"] for line in log.tokens]
    assert [row["completion_logprobs"] for row in tokens] == [line["completion_logprobs"] for line in log.tokens]
    assert [row["prompt_ids_sha256"] for row in tokens] == [line["prompt_ids_sha256"] for line in log.tokens]
    events = read("tables", TABLES, "table", name, folder / f"events.{form}")
    assert [row["type"] for row in events] == [line["type"] for line in log.events]
    assert [int(row["seq"]) for row in events] == list(range(len(log.events)))
    calls = [row for row in events if row["type"] == "call"]
    assert [row["call_id"] for row in calls] == [line["call_id"] for line in log.of("call")]
    if form == "parquet":
        assert [json.loads(row["response"]) for row in calls] == [line["response"] for line in log.of("call")]
        assert [json.loads(row["usage"]) for row in calls] == [line["usage"] for line in log.of("call")]


def row_of(run: Path) -> tuple[list[int], list[int], list[float]]:
    """Tokens, mask and logprobs of the one row of the run, straight from its log."""
    tokens: list[int] = []
    mask: list[int] = []
    for line in Log.read(run).tokens:
        tokens = tokens[: line["prefix_len"]] + line["prompt_ids_tail"]
        mask = mask[: line["prefix_len"]] + [0] * len(line["prompt_ids_tail"])
        tokens += line["completion_ids"]
        mask += [1] * len(line["completion_ids"])
    return tokens, mask, [0.0] * len(tokens)


def test_atif_is_what_harbor_reads(read: Read, run: Path, exported: Export) -> None:
    newer = sys.executable if sys.version_info >= (3, 12) else shutil.which("python3.12") or "3.12"
    found = read("harbor", HARBOR, "atif", exported("atif"), python=newer)
    assert found["valid"]
    document = found["document"]
    assert [each["trajectory_id"] for each in document["subagent_trajectories"]] == ["w-1", "w-2"]
    agents = [step for step in document["steps"] if step["source"] == "agent"]
    ids = [step["metrics"]["completion_token_ids"] for step in agents]
    assert ids == [line["completion_ids"] for line in Log.read(run).tokens]
    results = agents[1]["observation"]["results"]
    assert [each["subagent_trajectory_ref"][0]["trajectory_id"] for each in results] == ["w-1", "w-2"]
    assert agents[1]["tool_calls"][0]["arguments"] == {"agent": "w", "prompt": "one"}
    assert document["extra"]["rewards"]["r_finish"] == {"value": 1.0, "weight": 0.2}


def test_verifiers_reads_its_traces(read: Read, run: Path, exported: Export) -> None:
    found = read("verifiers", VERIFIERS, "verifiers", exported("verifiers"))
    assert (found["group"], found["ok"], found["trainable"]) == ("g1", True, [True, False, False])
    tokens, mask, logprobs = row_of(run)
    assert found["branches"] == [{"tokens": tokens, "mask": mask, "logprobs": logprobs}]
    assert math.isclose(found["reward"], 0.2 * 0.3 + 1.0 * 0.2 + 1.0)
    assert found["frozen_tokens"] == 0


def test_verl_takes_the_rows(read: Read, run: Path, exported: Export) -> None:
    """By its own classes; of what it depends on only what these import, without its inference servers."""
    (row,) = read("verl", VERL + VERL_TOO, "verl", exported("verl"), alone=("verl==0.9.1",))
    tokens, mask, logprobs = row_of(run)
    start = len(row["prompts"])
    assert row["prompts"] + row["responses"] == tokens
    assert (row["response_mask"], row["rollout_log_probs"]) == (mask[start:], logprobs[start:])
    assert math.isclose(row["rm_scores"][-1], 0.2 * 0.3 + 1.0 * 0.2 + 1.0, rel_tol=1e-6)
    assert not any(row["rm_scores"][:-1])
    assert (row["uid"], row["turns"], row["unknown"]) == ("g1", 6, [])


def test_trl_and_datasets_take_the_rows(read: Read, run: Path, exported: Export) -> None:
    row = read("trainers", TRAINERS, "trl", exported("trl"))
    tokens, mask, logprobs = row_of(run)
    assert row["input_ids"] == row["prompt_ids"] + row["completion_ids"] == tokens
    assert (row["completion_mask"], row["old_log_probs"]) == (mask, logprobs)
    assert row["env_mask"] == mask[len(row["prompt_ids"]) :]
    assert (row["trained"], row["batch"]) == (sum(mask), tokens)


def test_slime_loads_its_samples(read: Read, run: Path, tmp_path: Path, require: Require) -> None:
    programs = environment("trainers", TRAINERS, require)
    code = "import sys; from pathlib import Path; from swarm.rl.export.catalog import export"
    out = tmp_path / "samples.pt"
    writes = f"{code}; export('slime', [Path(each) for each in sys.argv[1:-1]], Path(sys.argv[-1]))"
    log = Log.read(run)
    log.events[0]["group_id"] = "g2"
    other = log.write(tmp_path / "other")
    command = [str(programs / "python"), "-c", writes, str(run), str(other), str(run), str(out)]
    subprocess.run(command, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)})
    samples = read("trainers", TRAINERS, "slime", out)["samples"]
    places = [(each["group_index"], each["rollout_id"], each["index"]) for each in samples]
    assert places == [(0, 0, 0), (0, 2, 1), (1, 1, 2)], "a rollout is not that of another group with the same number"
    sample = samples[0]
    tokens, mask, logprobs = row_of(run)
    start = len(tokens) - sample["response_length"]
    assert (sample["tokens"], sample["loss_mask"]) == (tokens, mask[start:])
    assert sample["rollout_log_probs"] == logprobs[start:]
    assert (sample["status"], sample["remove_sample"]) == ("completed", False)
    assert [each["role"] for each in sample["prompt"]] == ["system", "user"]


def test_task_sets_are_read_as_datasets_writes_them(tmp_path: Path, require: Require) -> None:
    programs = environment("tables", TABLES, require)
    code = (
        "import sys, json; from pathlib import Path; from datasets import Dataset\n"
        "from swarm.rl.tasks.files import load_tasks, tasks_of\n"
        "rows = [{'data_source': 'g', 'prompt': [{'role': 'user', 'content': f'{n} + {n}?'}], 'ability': 'math',\n"
        "         'reward_model': {'style': 'rule', 'ground_truth': str(2 * n)}, 'extra_info': {'index': n}}\n"
        "        for n in range(3)]\n"
        "made, folder = Dataset.from_list(rows), Path(sys.argv[1])\n"
        "made.to_parquet(folder / 'data' / 'train-00000-of-00001.parquet'); made.to_json(folder / 'train.jsonl')\n"
        "sets = load_tasks(folder / 'data'), load_tasks(folder / 'train.jsonl'), tasks_of(made)\n"
        "print(json.dumps([[task.model_dump() for task in tasks] for tasks in sets]))\n"
    )
    (tmp_path / "data").mkdir()
    command = [str(programs / "python"), "-c", code, str(tmp_path)]
    env = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(command, check=True, cwd=ROOT, env=env, capture_output=True, text=True)
    parquet, lines, rows = json.loads(done.stdout.splitlines()[-1])
    assert parquet == lines == rows
    told = [(task["id"], task["prompt"], task["answer"], task["about"]["ability"]) for task in parquet]
    assert told == [(f"g-{n}", f"{n} + {n}?", str(2 * n), "math") for n in range(3)]


def test_sft_is_a_conversation_for_datasets(read: Read, run: Path, exported: Export) -> None:
    (row,) = read("tables", TABLES, "table", "datasets", exported("sft"))
    roles = ["system", "user", "assistant", "tool", "assistant", "tool", "tool", "assistant"]
    assert [each["role"] for each in row["messages"]] == roles
    assert row["messages"][-1]["content"] == "both are done"
    assert len(row["tools"]) == len(RunLog(run).trajectory("orchestrator").start.tools)
