"""The models of a run that is recorded, and of one that is replayed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swarm.config import Price, RunConfig
from swarm.errors import UsageError
from swarm.models.fitting.windows import ContextWindow, given_window
from swarm.models.providers import redactor_of
from swarm.models.tapes.cassette import End, Head, RecordedModel, read_cassette
from swarm.models.tapes.record import RecordedService, open_recorder
from swarm.models.tapes.replay import ReplayedService, Tape
from swarm.protocols import ModelService
from swarm.types import Role

_ORDER = ("mode", "concurrency", "max_agents")
"""What the order of a run hangs on: with another, answers would be held for calls that nobody makes."""

_OPTIONS: dict[Role, Literal["planner", "subagent", "aggregator"]] = {
    Role.ORCHESTRATOR: "planner",
    Role.SUBAGENT: "subagent",
    Role.AGGREGATOR: "aggregator",
}


@asynccontextmanager
async def recorded(
    config: RunConfig,
    path: Path,
    services: Mapping[Role, ModelService],
    prices: Mapping[Role, Price | None],
    windows: Mapping[Role, ContextWindow],
) -> AsyncIterator[dict[Role, ModelService]]:
    """The same services, whose every exchange goes into a new file.

    Raises:
        UsageError: the file is there already, or cannot be made.
        JournalError: not all of it could be written.
    """
    models = {
        role.value: RecordedModel(name=each.name, endpoint=each.endpoint, price=prices[role])
        for role, each in services.items()
    }
    head = Head(
        mode=config.mode,
        seed=config.seed,
        concurrency=config.concurrency,
        max_agents=config.max_agents,
        models=models,
    )

    def known() -> dict[str, int]:
        return {role.value: each.tokens for role, each in windows.items() if each.tokens is not None}

    async with open_recorder(path, head, redactor_of(config, os.environ), known) as recorder:
        yield {role: RecordedService(each, recorder) for role, each in services.items()}


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a file holds, and the models as they were recorded."""

    tape: Tape
    services: Mapping[Role, ModelService]
    prices: Mapping[Role, Price | None]
    windows: Mapping[Role, ContextWindow]


def replayed(config: RunConfig, path: Path) -> Replayed:
    """What a file holds: a run that can be had again.

    Raises:
        UsageError: it cannot be read, or the configuration asks for something else than was recorded.
    """
    head, lines = read_cassette(path)
    if head.models.keys() != {role.value for role in _OPTIONS}:
        raise UsageError(f"{path}: its models are of other roles", remedy="name a file that --record wrote")
    models = {Role(role): model for role, model in head.models.items()}
    wanted: list[tuple[str, object, object]] = [(name, getattr(head, name), getattr(config, name)) for name in _ORDER]
    for role, model in models.items():
        given = config.model_of(_OPTIONS[role])
        wanted.append((f"{_OPTIONS[role]}_model", model.name, given or model.name))
    for name, was, now in wanted:
        if was != now:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{path} was recorded with {option} {was}, not {now}", remedy=f"give {option} {was}")
    tape = Tape(path, head, lines, redactor_of(config, os.environ))
    services: dict[Role, ModelService] = {
        role: ReplayedService(model.name, model.endpoint, tape) for role, model in models.items()
    }
    known = {role: tokens for line in lines if isinstance(line, End) for role, tokens in line.windows.items()}
    windows = {role: given_window(known.get(role.value, config.context_tokens)) for role in models}
    return Replayed(tape, services, {role: model.price for role, model in models.items()}, windows)
