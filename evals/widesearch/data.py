"""WideSearch's data: questions in JSON lines, Parquet, or by name on Hugging Face, and a gold table for each as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from swarm.errors import UsageError
from swarm.evals.widesearch.metrics import METRICS, PREPROCESS
from swarm.evals.widesearch.tables import Table, read_table

NAME = "ByteDance-Seed/WideSearch"
"""Of the published data on Hugging Face."""
GOLD = "widesearch_gold"
"""The folder of its gold tables there."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How the cells of a column are prepared, and by which metrics compared; `criterion` is for the metrics."""

    preprocess: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    criterion: Any = None


@dataclass(frozen=True, slots=True)
class Question:
    """One instance: columns `required` in the answer, those of them that are its `key`, a rule by column."""

    id: str
    query: str
    required: tuple[str, ...]
    key: tuple[str, ...]
    rules: Mapping[str, Rule] = field(default_factory=dict)
    language: str = "en"


def column_name(name: str) -> str:
    """A column name for comparing: without case and blanks."""
    return name.strip().lower().replace(" ", "")


def _listed(value: Any) -> Any:
    return [] if value is None else [value] if isinstance(value, str) else value


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class _Pipe(BaseModel):
    model_config = ConfigDict(extra="ignore")

    preprocess: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)
    metric: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)
    criterion: Any = None


class _Evaluation(BaseModel):
    model_config = ConfigDict(extra="ignore")

    required: list[str] = Field(min_length=1)
    unique_columns: Annotated[list[str], BeforeValidator(_listed)] = Field(min_length=1)
    eval_pipeline: dict[str, _Pipe]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")

    instance_id: str = Field(min_length=1)
    query: str = Field(min_length=1)
    evaluation: Annotated[_Evaluation, BeforeValidator(_parsed)]
    language: str = "en"


def load_questions(source: str) -> list[Question]:
    """The questions of a `.jsonl`, `.json` or `.parquet` file, or of a data set on Hugging Face by its name.

    Raises:
        UsageError: it cannot be read, a row is no question, or two have one id.
    """
    path = Path(source)
    if not path.exists() and source.count("/") == 1 and path.suffix not in (".jsonl", ".json", ".parquet"):
        found = [_question(row, f"{source}, row {n}") for n, row in enumerate(_hugging_face(source), start=1)]
    else:
        found = [_question(row, f"{path}, row {n}") for n, row in enumerate(_rows(path), start=1)]
    seen: set[str] = set()
    for question in found:
        if question.id in seen:
            raise UsageError(f"{source}: two questions have the id {question.id!r}")
        seen.add(question.id)
    if not found:
        raise UsageError(f"{source} holds no question")
    return found


def gold_table(question: Question, folder: Path) -> Table:
    """The gold table of a question, with the required columns in their order.

    Raises:
        UsageError: it is missing, cannot be read, or has not all columns.
    """
    path = folder / f"{question.id}.csv"
    try:
        table = read_table(path.read_bytes().decode("utf-8-sig"), ",")
    except OSError as error:
        raise UsageError(f"no gold table for {question.id}: {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} cannot be read as a table: {error}") from None
    names = [column_name(name) for name in table.columns]
    missing = [name for name in question.required if name not in names]
    if missing:
        raise UsageError(f"{path} has no column {', '.join(missing)}", remedy=f"it has {', '.join(names)}")
    if not table.rows:
        raise UsageError(f"{path} has no row: there is nothing to grade by")
    places = [names.index(name) for name in question.required]
    return Table(list(question.required), [[row[at] for at in places] for row in table.rows])


def gold_folder(source: str, gold: Path | None) -> Path:
    """Where the gold tables are: where the user says; of a data set by name where its files were fetched to.

    Raises:
        UsageError: it is not said, or is no folder.
    """
    if gold is None and not Path(source).exists() and source.count("/") == 1:
        gold = _snapshot(source) / GOLD
    if gold is None:
        beside = Path(source).parent / GOLD
        gold = beside if beside.is_dir() else None
    if gold is None:
        raise UsageError("the folder of the gold tables is not named", remedy="give --gold DIR, with a CSV per id")
    if not gold.is_dir():
        raise UsageError(f"{gold}: no such folder", remedy="give --gold DIR, with a CSV per id")
    return gold


def _question(row: Any, where: str) -> Question:
    try:
        read = _Row.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {place}: {first['msg']}" if place else f"{where}: {first['msg']}") from None
    told = read.evaluation
    required = tuple(column_name(name) for name in told.required)
    key = tuple(column_name(name) for name in told.unique_columns)
    rules = {
        column_name(name): Rule(tuple(pipe.preprocess), tuple(pipe.metric), pipe.criterion)
        for name, pipe in told.eval_pipeline.items()
    }
    where = f"{where} ({read.instance_id})"
    if "/" in read.instance_id or read.instance_id in (".", ".."):
        raise UsageError(f"{where}: an id names a file, and may hold no slash")
    if len(set(required)) < len(required):
        raise UsageError(f"{where}: a required column stands there twice")
    if strange := [name for name in key if name not in required]:
        raise UsageError(f"{where}: the key {', '.join(strange)} is no required column")
    for name, rule in rules.items():
        unknown = [each for each in rule.preprocess if each not in PREPROCESS]
        unknown += [each for each in rule.metrics if each not in METRICS]
        if unknown:
            raise UsageError(
                f"{where}: column {name} wants {', '.join(unknown)}, which is not known",
                remedy=f"there are {', '.join([*PREPROCESS, *METRICS])}",
            )
    return Question(read.instance_id, read.query, required, key, rules, read.language)


def _rows(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        yield from _parquet(path)
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise UsageError(f"{path}: {told}", remedy="name a JSONL or Parquet file, or a data set") from None
    if path.suffix == ".json" and text.lstrip().startswith("["):
        yield from _json(text, str(path))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _json(line, f"{path}, line {number}")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: no JSON: {error}") from None


def _parquet(path: Path) -> list[Any]:
    try:
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError(f"{path}: reading Parquet needs pyarrow", remedy="pip install 'swarm[evals]'") from None
    try:
        rows: list[Any] = parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UsageError(f"{path} cannot be read as Parquet: {error}") from None
    return rows


def _snapshot(name: str) -> Path:
    try:
        hub = import_module("huggingface_hub")
    except ImportError:
        raise UsageError(
            f"{name} is fetched from Hugging Face, which needs huggingface_hub",
            remedy="pip install 'swarm[evals]', or name a file",
        ) from None
    try:
        return Path(hub.snapshot_download(repo_id=name, repo_type="dataset"))
    except (OSError, ValueError) as error:  # its errors, and those of its HTTP client, have these parents
        raise UsageError(
            f"{name} cannot be fetched from Hugging Face: {error}", remedy="name a file with --dataset"
        ) from None


def _hugging_face(name: str) -> Iterator[Any]:
    folder = _snapshot(name)
    files = sorted(each for each in folder.rglob("*") if each.suffix in (".jsonl", ".parquet"))
    for file in files:
        yield from _rows(file)
