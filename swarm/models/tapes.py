"""The models of a run that is recorded, and of one that is replayed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from swarm.config import Price, RunConfig
from swarm.errors import UsageError
from swarm.journal.redaction import Redactor, secrets_of
from swarm.models.cassette import Head, RecordedModel, read_cassette
from swarm.models.providers import secrets_in
from swarm.models.record import RecordedService, open_recorder
from swarm.models.replay import ReplayedService, Tape
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
    config: RunConfig, path: Path, services: Mapping[Role, ModelService], prices: Mapping[Role, Price | None]
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
    async with open_recorder(path, head, _redactor(config)) as recorder:
        yield {role: RecordedService(each, recorder) for role, each in services.items()}


def replayed(config: RunConfig, path: Path) -> tuple[Tape, dict[Role, ModelService], dict[Role, Price | None]]:
    """What a file holds, and the services and prices of the models as they were recorded.

    Raises:
        UsageError: it cannot be read, or the configuration asks for something else than was recorded.
    """
    head, lines = read_cassette(path)
    models = {Role(role): model for role, model in head.models.items()}
    wanted: list[tuple[str, object, object]] = [(name, getattr(head, name), getattr(config, name)) for name in _ORDER]
    for role, model in models.items():
        given = config.model_of(_OPTIONS[role])
        wanted.append((f"{_OPTIONS[role]}_model", model.name, given or model.name))
    for name, was, now in wanted:
        if was != now:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{path} was recorded with {option} {was}, not {now}", remedy=f"give {option} {was}")
    tape = Tape(path, head, lines, _redactor(config))
    services: dict[Role, ModelService] = {
        role: ReplayedService(model.name, model.endpoint, tape) for role, model in models.items()
    }
    return tape, services, {role: model.price for role, model in models.items()}


def _redactor(config: RunConfig) -> Redactor:
    return Redactor(secrets_of(os.environ) | secrets_in(config, os.environ))
