"""Task sets in files: JSON lines or Parquet, with columns as the data sets on Hugging Face have them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from swarm.errors import UsageError
from swarm.rl.tasks.task import Task

PROMPTS = ("prompt", "question", "problem", "query", "instruction", "task")
ANSWERS = ("answer", "ground_truth", "solution", "label", "target")
IDS = ("id", "task_id", "instance_id", "uid", "question_id")
_OWN = ("repo", "test", "kind")
_NO_ROWS = "a line is an object with a prompt (of a JSON array: `jq -c '.[]'` makes lines)"


def load_tasks(path: Path, limit: int | None = None) -> list[Task]:
    """The tasks of a file, or of all `.jsonl` and `.parquet` files of a folder by name, at most `limit`.

    A row has a prompt (the first column there is of `PROMPTS`), a text or chat messages, which are put together; the
    key is `reward_model.ground_truth` (verl's form), else the first column of `ANSWERS`; the id is of `IDS`, else of
    `extra_info.index` with `data_source`, else the number of the row. What else there is goes to `about`.

    Raises:
        UsageError: a file or a row cannot be read, or two tasks have one id.
    """
    tasks: list[Task] = []
    for file in _files(path):
        for number, row in enumerate(_rows(file), start=1):
            if limit is not None and len(tasks) >= limit:
                return _checked(tasks, str(path))
            tasks.append(_task(row, f"{file}, row {number}", f"{file.stem}-{number}"))
    return _checked(tasks, str(path))


def tasks_of(rows: Iterable[Mapping[str, Any]], name: str = "row") -> list[Task]:
    """The same of rows that are there already, such as those of a `datasets.Dataset`. `name` is what they are called
    where they have no id.

    Raises:
        UsageError: a row cannot be read, or two tasks have one id.
    """
    found = [_task(row, f"{name} {number}", f"{name}-{number}") for number, row in enumerate(rows, start=1)]
    return _checked(found, name)


def _checked(tasks: list[Task], where: str) -> list[Task]:
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise UsageError(f"{where}: two tasks have the id {task.id!r}", remedy="ids of a set are unique")
        seen.add(task.id)
    if not tasks:
        raise UsageError(f"{where} holds no task", remedy=_NO_ROWS)
    return tasks


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.rglob("*") if each.suffix in (".jsonl", ".parquet") and each.is_file())
    if not found:
        raise UsageError(f"{path} holds neither .jsonl nor .parquet files", remedy="name a file, or another folder")
    return found


def _rows(file: Path) -> Iterator[Any]:
    if file.suffix == ".parquet":
        yield from _parquet(file)
        return
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except (ValueError, RecursionError) as error:
                        raise UsageError(f"{file}, line {number}: no JSON: {error}", remedy=_NO_ROWS) from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", remedy="name a readable JSONL or Parquet file") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no text in UTF-8", remedy="Parquet files must be named .parquet") from None


def _parquet(file: Path) -> Iterator[Any]:
    try:
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError(f"{file}: reading Parquet needs pyarrow", remedy="pip install 'swarm[rl]'") from None
    try:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UsageError(f"{file} cannot be read as Parquet: {error}", remedy="name a readable file") from None


def _task(row: Any, where: str, name: str) -> Task:
    if not isinstance(row, Mapping):
        raise UsageError(f"{where} is no object", remedy=_NO_ROWS)
    left = {str(key): value for key, value in row.items() if value is not None}
    prompt = next((left.pop(key) for key in PROMPTS if key in left), None)
    model = left.get("reward_model")
    if isinstance(model, Mapping) and "ground_truth" in model:
        answer = model["ground_truth"]
        del left["reward_model"]
    else:
        answer = next((left.pop(key) for key in ANSWERS if key in left), None)
    own = {key: left.pop(key) for key in _OWN if isinstance(left.get(key), str)}
    text = _text(prompt, where)
    if not text:
        raise UsageError(f"{where} has no prompt", remedy=f"one of the columns {', '.join(PROMPTS)}")
    try:
        return Task(id=_id(left, name), prompt=text, answer=answer, about=left, **own)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        column = ".".join(map(str, first["loc"]))
        raise UsageError(f"{where}, {column}: {first['msg']}", remedy="mend that row, or leave it out") from None


def _id(left: dict[str, Any], name: str) -> str:
    for key in IDS:
        if isinstance(left.get(key), str | int) and str(left[key]):
            return str(left.pop(key))
    extra = left.get("extra_info")
    if isinstance(extra, Mapping) and isinstance(extra.get("index"), str | int):
        return f"{left.get('data_source', name.rpartition('-')[0])}-{extra['index']}"
    return name


def _text(prompt: Any, where: str) -> str:
    """A prompt as text: chat messages, and the parts of their contents, one after the other; empty where it is none.

    Raises:
        UsageError: a part is no text.
    """
    if isinstance(prompt, str):
        return prompt.strip()
    if not isinstance(prompt, list):
        return ""
    found: list[str] = []
    for each in prompt:
        if not isinstance(each, Mapping):
            continue
        if each.get("type", "text") != "text":
            raise UsageError(f"{where}: a part of the prompt is of type {each['type']!r}", remedy="a prompt is text")
        found.append(_text(each.get("content", each.get("text")), where))
    return "\n\n".join(part for part in found if part)
