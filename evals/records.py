"""What an evaluation leaves in its folder: `eval.json` (how it was made) and `results.jsonl` (one line a trial)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from swarm.errors import UsageError
from swarm.types import RunStatus

MANIFEST = "eval.json"
RESULTS = "results.jsonl"


class Arm(BaseModel):
    """One way of running the instances. `agents` is the size of the swarm: how many work at once, 1 for `single`."""

    model_config = ConfigDict(frozen=True)

    name: str
    mode: str
    model: str = ""
    agents: int = 1


class Manifest(BaseModel):
    """How an evaluation was made: what another person needs to make it again.

    `instances` are all that it is to run, in order. `digests` are those of images or data by instance, `prompts` the
    hashes of the texts that models are given, `versions` those of swarm, Python and packages. Keys that are not known
    here are kept: a newer version may say more.
    """

    model_config = ConfigDict(extra="allow")

    schema_version: Literal[1] = 1
    suite: str
    version: str
    arms: list[Arm]
    instances: list[str]
    epochs: int = Field(default=1, ge=1)
    seed: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    digests: dict[str, str] = Field(default_factory=dict)
    prompts: dict[str, str] = Field(default_factory=dict)
    command: list[str] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)
    started: float = 0.0
    """Seconds since 1970, as all times here."""


class TrialResult(BaseModel):
    """One trial: a run of an instance in an arm, graded. `resolved` is None where the machine failed, told in `error`:
    that is no verdict. `cost_usd` is None where a model has no known price; what runs used that could not be gone on
    with, or gave no result, is `set_aside`. `run` is the run's folder, relative to the evaluation's. `epoch` counts
    from 1. `score` is 0..1. `outcomes` counts sub-tasks by how they ended."""

    model_config = ConfigDict(extra="allow")

    instance_id: str
    arm: str
    epoch: int = Field(default=1, ge=1)
    seed: int | None = None
    run: str = ""
    status: RunStatus | None = None
    """None: there was no run, such as where the instance could not be set up."""
    resolved: bool | None
    score: float = Field(default=0.0, allow_inf_nan=False)
    error: str = ""
    cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    calls: int = 0
    wall_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    critical_steps: int = 0
    total_steps: int = 0
    n_subagents: int = 0
    peak_concurrency: int = 0
    outcomes: dict[str, int] = Field(default_factory=dict)
    set_aside_tokens: int = 0
    set_aside_usd: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    details: dict[str, Any] = Field(default_factory=dict)

    @field_validator("instance_id", "arm")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value:
            raise ValueError("must not be empty")
        return value

    @property
    def key(self) -> tuple[str, str, int]:
        """Which trial it is: instance, arm, epoch."""
        return self.instance_id, self.arm, self.epoch

    @property
    def spent_tokens(self) -> int:
        """All that it used, with what was set aside."""
        return self.prompt_tokens + self.completion_tokens + self.set_aside_tokens

    @property
    def spent_usd(self) -> float | None:
        """All that it cost, with what was set aside; None where the price of its run is not known."""
        unknown = self.status is not None and self.cost_usd is None
        return None if unknown else (self.cost_usd or 0.0) + self.set_aside_usd


def read_manifest(folder: Path) -> Manifest:
    """How the evaluation in a folder was made.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{folder} holds no evaluation: there is no {MANIFEST}", remedy="name the --out of an evaluation"
        ) from None
    except (OSError, ValidationError) as error:
        raise UsageError(f"{path} cannot be read: {_said(error)}") from None


def read_results(folder: Path) -> list[TrialResult]:
    """All lines of a folder's results, oldest first; a last line that was cut off by a crash is left out.

    Raises:
        UsageError: a whole line is no result.
    """
    path = folder / RESULTS
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {_said(error)}") from None
    *whole, _cut_off = data.split(b"\n")
    found = []
    for number, line in enumerate(whole, start=1):
        try:
            found.append(TrialResult.model_validate_json(line))
        except ValidationError as error:
            raise UsageError(f"{path}, line {number}: {_said(error)}", remedy="mend or remove the line") from None
    return found


def standing(results: list[TrialResult]) -> dict[tuple[str, str, int], TrialResult]:
    """What stands of each trial, where it was run again: its last verdict, or, while it has none, the last failure."""
    stands: dict[tuple[str, str, int], TrialResult] = {}
    for result in results:
        before = stands.get(result.key)
        if before is None or result.resolved is not None or before.resolved is None:
            stands[result.key] = result
    return stands


def _said(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
