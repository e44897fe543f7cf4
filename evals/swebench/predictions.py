"""Predictions in the official form: read from JSON or JSONL, and written."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from swarm.errors import UsageError
from swarm.evals.swebench.grading import Prediction

_QUOTED = re.compile(rb'"a/(?:[^"\\]|\\.)*" "b/((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_SINGLE = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


class _Given(BaseModel):
    model_config = ConfigDict(extra="ignore")

    instance_id: str
    model_name_or_path: str | None = None
    model_patch: str | None = None


def read_predictions(path: Path) -> list[Prediction]:
    """Predictions of a file: a map by instance, a list, or a line each. A later one takes the place of an earlier one,
    as in the official harness. Blocks.

    Raises:
        UsageError: it cannot be read, or one lacks what it needs.
    """
    try:
        text = path.read_text(encoding="utf-8")
        listed = _listed(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"the predictions in {path} cannot be read: {reason}", remedy="give JSON or JSONL, as in docs/evaluation.md"
        ) from None
    found: dict[str, Prediction] = {}
    for number, each in enumerate(listed, 1):
        try:
            given = _Given.model_validate(each)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, wrong["loc"]))
            raise UsageError(
                f"{path}: prediction {number}: {where}: {wrong['msg']}", remedy="mend or remove it"
            ) from None
        name = given.model_name_or_path or "None"
        patch = given.model_patch
        if patch is not None:  # a lone surrogate is in no file: such a patch does not apply
            patch = patch.encode(errors="replace").decode()
        found[given.instance_id] = Prediction(given.instance_id, name, patch)
    return list(found.values())


def _listed(text: str) -> Sequence[Any]:
    try:
        read = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    if isinstance(read, Mapping):
        if isinstance(read.get("instance_id"), str):  # one line of JSONL
            return [read]
        return [{"instance_id": id, **each} if isinstance(each, Mapping) else each for id, each in read.items()]
    if not isinstance(read, list):
        raise ValueError("neither a map nor a list")
    return read


def known(predictions: Sequence[Prediction], ids: Collection[str], source: str) -> None:
    """Raises: UsageError where one is for an instance that the data does not hold."""
    strange = [each.instance_id for each in predictions if each.instance_id not in ids]
    if strange:
        some = ", ".join(strange[:3]) + (", ..." if len(strange) > 3 else "")
        raise UsageError(
            f"{len(strange)} predictions are for instances that {source} does not hold: {some}",
            remedy="give the data that they were made for",
        )


def as_map(predictions: Sequence[Prediction]) -> bytes:
    """`preds.json`."""
    whole = {each.instance_id: each.official for each in predictions}
    return (json.dumps(whole, indent=2) + "\n").encode()


def as_lines(predictions: Sequence[Prediction]) -> bytes:
    """`all_preds.jsonl`."""
    return "".join(json.dumps(each.official) + "\n" for each in predictions).encode()


def without(patch: bytes, ignored: Sequence[bytes]) -> bytes:
    """A patch without what it changes at paths that git ignores in the instance's repository, or below them where they
    end in a slash: built files, which no commit there would hold."""
    if not ignored:
        return patch
    return b"".join(part for part in parts_of(patch) if not _below(changed_path(part), ignored))


def parts_of(patch: bytes) -> list[bytes]:
    """A patch, file by file."""
    return re.split(rb"(?m)^(?=diff --git )", patch)


def _below(path: bytes, ignored: Sequence[bytes]) -> bool:
    return any(path.startswith(each) if each.endswith(b"/") else path == each for each in ignored)


def changed_path(part: bytes) -> bytes:
    """The path that a part of a patch is about, the same on both sides; empty for what is none."""
    names = part.partition(b"\n")[0].removeprefix(b"diff --git ")
    quoted = _QUOTED.fullmatch(names)
    if quoted is not None:
        return _ESCAPE.sub(_character, quoted[1])
    length = (len(names) - len(b"a/ b/")) // 2
    path = names[2 : 2 + length]
    return path if names == b"a/%s b/%s" % (path, path) else b""


def _character(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    return bytes([int(escaped, 8) & 0xFF]) if len(escaped) == 3 else _SINGLE.get(escaped, escaped)
