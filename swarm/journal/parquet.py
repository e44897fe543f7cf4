"""The log of a run that has ended as Parquet, zstd: `events.parquet` and `tokens.parquet`, a row for each line.

The columns follow from the record types, so that every file has the same ones: text, whole numbers, numbers, truth
values and lists of these as such, whatever else as JSON. What a record's type does not have is null. pyarrow is needed
(`pip install 'swarm[rl]'`) and imported when it is.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread
from pydantic_core import from_json, to_json

from swarm.events import Event
from swarm.events.base import EventBase
from swarm.events.tokens import TokensTaken
from swarm.whole_file import open_plain

ROWS = 2_000
"""Rows of one group of the file at the most."""

LEAST, MOST = 700_000, 8 << 20
"""Bytes of the log after which such a group is full: few where the log is short, and more as the file grows, for each
of its groups costs memory until it is closed."""

_PART = 8

_LINES, _PIECE = 128, 512 << 10
"""Lines, and bytes of them, that are held as Python's objects, which take several times as much as Arrow's."""

CLOSE_S = 5.0
"""Seconds that the end of a run may take longer for it."""

_ROOM = 512 << 20
"""Bytes of address space that are more than enough for the libraries."""

Kind = Literal["text", "int", "float", "bool", "texts", "ints", "floats", "json"]

_PLAIN: dict[Any, Kind] = {str: "text", int: "int", float: "float", bool: "bool"}
_LISTS: dict[Kind, Kind] = {"text": "texts", "int": "ints", "float": "floats"}
_SOUGHT = ["seq", "t"]
"""Columns by which a reader may leave out groups: the bounds of all two hundred were a third of the file."""

_FIRST = ("type", "seq", "run_id", "t", "mono", "v", "crc")


def columns(records: tuple[type[EventBase], ...]) -> dict[str, Kind]:
    """The columns of records of these types. A name that two of them use for different things holds JSON."""
    found: dict[str, Kind] = dict.fromkeys(_FIRST, "text")
    for record in records:
        for name, field in record.model_fields.items():
            kind = _kind(field.annotation)
            found[name] = kind if found.get(name, kind) == kind or name in EventBase.model_fields else "json"
    return found


def _kind(annotation: Any) -> Kind:
    origin, given = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        kinds = {_kind(each) for each in given if each is not type(None)}
        return kinds.pop() if len(kinds) == 1 else "json"
    if origin is Literal:
        return "text"
    if origin is list:
        return _LISTS.get(_kind(given[0]), "json")
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "text"
    return _PLAIN.get(annotation, "json")


EVENT_COLUMNS = columns(typing.get_args(Event))
TOKEN_COLUMNS = columns((TokensTaken,))


def write_parquet(folder: Path, target: Path, goes_on: Callable[[], bool] = lambda: True) -> bool:
    """Write both files of a run into the folder `target`; gives False where `goes_on` said no, and nothing was written.

    Raises:
        ImportError: pyarrow is not there.
        OSError, ValueError: a file cannot be written, or holds something else.
    """
    written: list[Path] = []
    for name, found in (("events", EVENT_COLUMNS), ("tokens", TOKEN_COLUMNS)):
        partly = target / f"{name}.parquet.tmp"
        try:
            if not _write(folder / f"{name}.jsonl", partly, found, goes_on):
                return False
            written.append(partly)
        finally:
            if partly not in written:
                for each in (partly, *written):
                    each.unlink(missing_ok=True)
    for partly in written:
        partly.replace(partly.with_suffix(""))
    return True


async def on_close(folder: Path) -> str:
    """Write both files at the end of a run, where pyarrow is there, within `CLOSE_S`; gives why it could not be done,
    empty where it was, or where pyarrow is not there. They can be had later: `swarm export --format parquet`."""
    if find_spec("pyarrow") is None:
        return ""
    deadline = time.monotonic() + CLOSE_S
    try:
        _see_room()
        write = partial(write_parquet, folder, folder, lambda: time.monotonic() < deadline)
        written = await anyio.to_thread.run_sync(write)
    except (ImportError, OSError, ValueError, RuntimeError, MemoryError) as error:
        return f"no Parquet was written: {error}"
    return "" if written else f"no Parquet was written within {CLOSE_S:.0f} s: `swarm export --format parquet` does"


def _see_room() -> None:
    """See that there are memory and threads: the libraries below pyarrow end the process where they get none.

    Raises:
        OSError: no memory can be had.
        RuntimeError: no threads can be started.
    """
    mmap.mmap(-1, _ROOM, flags=mmap.MAP_PRIVATE).close()
    over, count = threading.Event(), 2 * (os.cpu_count() or 1) + 2
    begun: list[threading.Thread] = []
    try:
        for _ in range(count):
            begun.append(threading.Thread(target=over.wait))
            begun[-1].start()
    finally:
        over.set()


def _write(lines: Path, target: Path, found: Mapping[str, Kind], goes_on: Callable[[], bool]) -> bool:
    pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    schema = _schema(pyarrow, found)
    group: list[Any] = []
    count = held = before = 0
    try:
        with parquet.ParquetWriter(target, schema, compression="zstd", write_statistics=_SOUGHT) as writer:
            for rows, size in _pieces(lines):
                if not goes_on():
                    return False
                try:
                    group.append(_batch(pyarrow, schema, rows, found))
                except (TypeError, AttributeError, OverflowError) as error:
                    raise ValueError(f"{lines.name} holds a line that is no record: {error}") from None
                count, held = count + len(rows), held + size
                if count + _LINES > ROWS or held >= min(max(LEAST, before // _PART), MOST):
                    writer.write_table(pyarrow.Table.from_batches(group, schema), row_group_size=ROWS)
                    before += held
                    group, count, held = [], 0, 0
            if group:
                writer.write_table(pyarrow.Table.from_batches(group, schema), row_group_size=ROWS)
    finally:
        group = []
        pyarrow.default_memory_pool().release_unused()  # it keeps what it once had
    return True


def _batch(pa: Any, schema: Any, rows: Sequence[Mapping[str, Any]], found: Mapping[str, Kind]) -> Any:
    there = set[str]().union(*(row.keys() for row in rows))
    columns = [
        pa.array(_cells(rows, name, kind), schema.field(name).type)
        if name in there
        else pa.nulls(len(rows), schema.field(name).type)
        for name, kind in found.items()
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _schema(pa: Any, found: Mapping[str, Kind]) -> Any:
    # Logprobs are 32-bit floats; what else is a list of numbers there is not.
    made: dict[Kind, Any] = {
        "text": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "texts": pa.list_(pa.string()),
        "ints": pa.list_(pa.int64()),
        "floats": pa.list_(pa.float32()),
        "json": pa.string(),
    }
    return pa.schema([(name, made[kind]) for name, kind in found.items()])


def _pieces(path: Path) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """A few lines after the other, with their bytes."""
    rows: list[dict[str, Any]] = []
    size = 0
    with open_plain(path) as lines:
        for line in lines:
            rows.append(from_json(line))
            size += len(line)
            if len(rows) == _LINES or size >= _PIECE:
                yield rows, size
                rows, size = [], 0
    if rows:
        yield rows, size


def _cells(rows: Sequence[Mapping[str, Any]], name: str, kind: Kind) -> list[Any]:
    cells = [row.get(name) for row in rows]
    return [None if cell is None else to_json(cell).decode() for cell in cells] if kind == "json" else cells
