"""The arms of an evaluation: the ways in which each instance is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from swarm.config import RunConfig
from swarm.errors import UsageError
from swarm.evals.records import Arm

SINGLE = "single"


@dataclass(frozen=True, slots=True)
class Way:
    """An arm, and the configuration of its runs."""

    arm: Arm
    config: RunConfig

    @property
    def name(self) -> str:
        return self.arm.name


def ways(
    config: RunConfig,
    modes: Sequence[str] = (),
    models: Sequence[str] = (),
    sizes: Sequence[int] = (),
) -> list[Way]:
    """The product of modes, models and sizes; what is not given is as `config` has it. The size of a swarm is how many
    agents work at once in a run: over all its stages it may ask for as many as `config` allows, and for no fewer than
    that. `single` has one agent, so that it is there once a model.

    Raises:
        UsageError: a value is not allowed, or given twice.
    """
    found: list[Way] = []
    for model in models or (None,):
        for mode in modes or (config.mode,):
            for size in (1,) if mode == SINGLE else sizes or (None,):
                own: dict[str, Any] = {"mode": mode}
                if model is not None:
                    own["model"] = model
                if size is not None and mode != SINGLE:
                    own |= {"concurrency": size, "max_agents": max(size, config.max_agents)}
                found.append(_way(config, own, named=len(models) > 1))
    names = [way.name for way in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"the arm {twice} is there twice", remedy="give each mode, model and size once")
    return found


def _way(config: RunConfig, own: dict[str, Any], *, named: bool) -> Way:
    try:
        made = RunConfig(**{**config.model_dump(), "api_key": config.api_key, **own})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "an arm"
        raise UsageError(f"{where}: {first['msg']}", remedy="see --modes, --sizes and --max-depth") from None
    name = made.mode + (f"-{own['concurrency']}" if "concurrency" in own else "") + (f"@{made.model}" if named else "")
    agents = 1 if made.mode == SINGLE else min(made.concurrency, made.max_agents)
    return Way(Arm(name=name, mode=made.mode, model=made.model or "", agents=agents), made)
