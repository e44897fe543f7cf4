"""Reads the log and its exports with other projects' packages, and prints what they found as JSON. Run by
`test_trajectories.py` in an environment that has them; knows nothing of swarm."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def table(name: str, path: str, scratch: str) -> Any:
    """The rows of a JSONL or Parquet file, by pandas, polars, DuckDB or `datasets`."""
    columns = path.endswith(".parquet")
    if name == "pandas":
        pandas = import_module("pandas")
        frame = pandas.read_parquet(path) if columns else pandas.read_json(path, lines=True)
        return json.loads(frame.to_json(orient="records"))
    if name == "polars":
        polars = import_module("polars")
        data = polars.read_parquet(path) if columns else polars.read_ndjson(path, infer_schema_length=None)
        return data.to_dicts()
    if name == "duckdb":
        duckdb = import_module("duckdb")
        how = f"read_parquet('{path}')" if columns else f"read_json('{path}', format='newline_delimited')"
        found = duckdb.sql(f"SELECT * FROM {how}")
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    datasets = import_module("datasets")
    form = "parquet" if columns else "json"
    return list(datasets.load_dataset(form, data_files=path, split="train", cache_dir=f"{scratch}/cache"))


def atif(path: str, scratch: str) -> Any:
    validate_trajectory = import_module("harbor.utils.trajectory_validator").validate_trajectory
    read = import_module("harbor.models.trajectories").Trajectory.model_validate_json(Path(path).read_text())
    return {"valid": validate_trajectory(path), "document": read.to_json_dict()}


def verifiers(path: str, scratch: str) -> Any:
    (line,) = Path(path).read_text().splitlines()
    read = import_module("verifiers.v1.episode").WireEpisode.model_validate_json(line)
    return {
        "group": read.group.id,
        "ok": read.ok,
        "trainable": [trace.agent.trainable for trace in read.traces],
        "reward": read.traces[0].reward,
        "branches": [
            {"tokens": branch.token_ids, "mask": [int(m) for m in branch.sampled_mask], "logprobs": branch.logprobs}
            for branch in read.traces[0].branches
        ],
        "frozen_tokens": sum(len(node.token_ids) for trace in read.traces[1:] for node in trace.nodes),
    }


def trl(path: str, scratch: str) -> Any:
    collator = import_module("trl.trainer.sft_trainer").DataCollatorForLanguageModeling
    (row,) = table("datasets", path, scratch)
    labels = [
        token if sampled else -100 for token, sampled in zip(row["input_ids"], row["completion_mask"], strict=True)
    ]
    batch = collator(pad_token_id=0)([{"input_ids": row["input_ids"], "labels": labels}])
    return row | {"trained": int((batch["labels"] != -100).sum()), "batch": batch["input_ids"][0].tolist()}


def slime(path: str, scratch: str) -> Any:
    return import_module("torch").load(path, weights_only=False)


def verl(path: str, scratch: str) -> Any:
    output = import_module("verl.experimental.agent_loop.agent_loop").AgentLoopOutput
    found = []
    for line in Path(path).read_text().splitlines():
        row = json.loads(line)
        uid = row.pop("uid")
        unknown = sorted(set(row) - set(output.model_fields))
        read = output.model_validate(row).as_dict()
        tensors = {name: value[None] for name, value in read.items() if hasattr(value, "shape")}
        numpy = import_module("numpy")
        proto = import_module("verl.protocol").DataProto.from_dict(
            tensors=tensors, non_tensors={"uid": numpy.array([uid], dtype=object)}
        )
        proto.check_consistency()
        told = {name: value[0].tolist() for name, value in proto.batch.items()}
        found.append(told | {"uid": proto.non_tensor_batch["uid"][0], "unknown": unknown, "turns": read["num_turns"]})
    return found


READERS: dict[str, Callable[..., Any]] = {
    "table": table,
    "atif": atif,
    "verifiers": verifiers,
    "trl": trl,
    "slime": slime,
    "verl": verl,
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(READERS[sys.argv[1]](*sys.argv[2:]), default=str) + "\n")
