"""The rows of SWE-bench: read from a file, or had by the name that they have on Hugging Face."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from swarm.errors import MachineError, UsageError

NAMES = {
    "full": "SWE-bench/SWE-bench",
    "lite": "SWE-bench/SWE-bench_Lite",
    "verified": "SWE-bench/SWE-bench_Verified",
    "multilingual": "SWE-bench/SWE-bench_Multilingual",
}
"""Short names of data sets."""

SPLIT = "test"
_EXTRA = "install it with `pip install 'swarm[evals]'`"


def _listed(value: object) -> object:
    """Lists of tests are JSON in a string in older data."""
    return json.loads(value) if isinstance(value, str) and value.lstrip().startswith("[") else value


def _text(value: object) -> object:
    return "" if value is None else value


Tests = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Text = Annotated[str, BeforeValidator(_text)]


class Row(BaseModel):
    """One instance. What older data lacks is empty: `image` (by template then), `eval_script`, `log_parser`,
    `eval_type`. `raw` is the row as it was read, for the swebench package."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    instance_id: str = Field(min_length=1, pattern=r"^[\w.+-]+$")
    repo: str
    base_commit: str = Field(pattern=r"^[0-9a-fA-F]{7,64}$")
    problem_statement: Text = ""
    patch: Text = ""
    test_patch: Text = ""
    version: Text = ""
    FAIL_TO_PASS: Tests
    PASS_TO_PASS: Tests
    image: Text = ""
    eval_script: Text = ""
    log_parser: Text = ""
    eval_type: Text = ""
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)


def load_rows(source: str) -> list[Row]:
    """The rows of a JSON, JSONL or Parquet file, or of a data set by name (`verified`, `lite`, `multilingual`, `full`,
    OWNER/NAME), of its split `test` or of `OWNER/NAME:SPLIT`. Blocks.

    Raises:
        UsageError: it is not there, not readable, or has rows that are none of SWE-bench.
        MachineError: it cannot be had from Hugging Face.
    """
    path = Path(source).expanduser()
    if path.is_file():
        rows = _parsed(path)
    elif path.suffix in (".json", ".jsonl", ".parquet"):
        raise UsageError(f"--dataset: there is no file {path}", remedy="name one that is there")
    else:
        rows = _from_hub(source)
    return checked(rows, source)


def checked(rows: Sequence[Mapping[str, Any]], source: str) -> list[Row]:
    """Rows of which each has what is needed, and an id of its own.

    Raises:
        UsageError: one has not; it says which and what.
    """
    found: dict[str, Row] = {}
    for number, raw in enumerate(rows, 1):
        try:
            row = Row(**{**raw, "raw": dict(raw)})
        except (ValidationError, TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"{source}: row {number} is none of SWE-bench: {_first(error)}") from None
        if row.instance_id in found:
            raise UsageError(f"{source}: {row.instance_id} is there twice", remedy="remove one of both")
        found[row.instance_id] = row
    if not found:
        raise UsageError(f"{source} holds no instance", remedy="name other data")
    return list(found.values())


def fingerprint(rows: Sequence[Row]) -> str:
    """The same for the same data, in whatever order and form it was read."""
    wanted = (
        *("instance_id", "base_commit", "problem_statement", "test_patch", "FAIL_TO_PASS", "PASS_TO_PASS"),
        *("image", "eval_script", "log_parser", "eval_type"),
    )
    whole = [[getattr(row, name) for name in wanted] for row in sorted(rows, key=lambda row: row.instance_id)]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:16]


def _parsed(path: Path) -> list[Mapping[str, Any]]:
    try:
        if path.suffix == ".parquet":
            return _from_parquet(path)
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            return list(_lines(text))
        try:
            read = json.loads(text)
        except ValueError:
            return list(_lines(text))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}", remedy="give a .json, .jsonl or .parquet file") from None
    if isinstance(read, dict) and "instance_id" not in read:
        return list(read.values())
    return read if isinstance(read, list) else [read]


def _lines(text: str) -> Iterator[Mapping[str, Any]]:
    return (json.loads(line) for line in text.split("\n") if line.strip())


def _from_parquet(path: Path) -> list[Mapping[str, Any]]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError("Parquet cannot be read without pyarrow", remedy=_EXTRA) from None
    return list(parquet.read_table(path).to_pylist())


def _from_hub(source: str) -> list[Mapping[str, Any]]:
    name, _, split = source.partition(":")
    name = NAMES.get(name.lower(), name)
    if name.count("/") != 1:
        raise UsageError(
            f"--dataset: {source!r} is no file and no data set",
            remedy=f"give a .json, .jsonl or .parquet file, OWNER/NAME, or one of {', '.join(NAMES)}",
        )
    try:
        datasets = import_module("datasets")
    except ImportError:
        raise UsageError("data cannot be had by name without datasets", remedy=_EXTRA) from None
    try:
        datasets.disable_progress_bars()
        import_module("huggingface_hub.utils.logging").set_verbosity_error()  # what went wrong is told below, once
        return [dict(row) for row in datasets.load_dataset(name, split=split or SPLIT)]
    except Exception as error:  # noqa: BLE001  it raises of all kinds: requests, OSError, its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise MachineError(
            f"{name} cannot be had from Hugging Face: {reason}",
            remedy="give --dataset a file that was fetched elsewhere, or set HF_HOME to a cache that holds it",
        ) from None


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        one = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
    return str(error)
