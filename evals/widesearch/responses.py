"""Answers of others, as JSON lines of `{instance_id, response, trial}`."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from swarm.errors import UsageError

_FORM = 'a line is {"instance_id": "...", "response": "...", "trial": 0}'


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")

    instance_id: str
    response: str | None = None
    trial: int | None = Field(default=None, validation_alias=AliasChoices("trial", "trial_idx"))


@dataclass(frozen=True, slots=True)
class Responses:
    """Answers by question and place among the `trials`, whose numbers are those in the file. A question that a trial
    does not answer has an empty answer there, which is worth 0; `unknown` ids are of no question of the data set."""

    trials: tuple[int, ...]
    by_trial: dict[tuple[str, int], str]
    unknown: tuple[str, ...]

    def answer(self, instance_id: str, trial: int) -> str:
        """The answer of a trial by its number, empty where there is none."""
        return self.by_trial.get((instance_id, trial), "")


def read_responses(path: Path, ids: Collection[str]) -> Responses:
    """Read the answers to the questions `ids`. Lines without `trial` are numbered by question, from 0.

    Raises:
        UsageError: the file cannot be read, a line is no answer, or two are of one question and trial.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise UsageError(f"{path}: {told}", remedy=_FORM) from None
    lines = [_read(line, f"{path}, line {n}") for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    found: dict[tuple[str, int], str] = {}
    counted: dict[str, int] = {}
    for line in lines:
        trial = line.trial if line.trial is not None else counted.get(line.instance_id, 0)
        counted[line.instance_id] = counted.get(line.instance_id, 0) + 1
        if (line.instance_id, trial) in found:
            raise UsageError(f"{path}: {line.instance_id} is answered twice in trial {trial}", remedy=_FORM)
        found[line.instance_id, trial] = line.response or ""
    known = {key: answer for key, answer in found.items() if key[0] in ids}
    if not known:
        raise UsageError(f"{path} answers no question of the data set", remedy=_FORM)
    return Responses(_numbers(known), known, tuple(sorted({name for name, _ in found.keys() - known.keys()})))


def _numbers(known: Collection[tuple[str, int]]) -> tuple[int, ...]:
    return tuple(sorted({trial for _, trial in known}))


def _read(line: str, where: str) -> _Line:
    try:
        return _Line.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {f'{place}: ' if place else ''}{first['msg']}", remedy=_FORM) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: no JSON: {error}", remedy=_FORM) from None


def missing(responses: Responses, ids: Sequence[str]) -> list[str]:
    """The questions that are not answered in every trial."""
    return [name for name in ids if any((name, trial) not in responses.by_trial for trial in responses.trials)]
