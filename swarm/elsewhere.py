"""Where the attempts of a run are made: in this process, or on the nodes of a cluster."""

from __future__ import annotations

import os
import pickle
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from swarm import __version__
from swarm.agents.board import Board
from swarm.config import RunConfig, home
from swarm.errors import UsageError
from swarm.executors.local import LocalExecutor
from swarm.journal.artifacts import Artifacts
from swarm.mission import Mission
from swarm.models.admission.governors import open_governor
from swarm.models.fitting.capabilities import knowledge_of
from swarm.models.providers import Endpoint, endpoint_of, replicas_of
from swarm.parts import Parts
from swarm.protocols import EventSink, Executor
from swarm.stores import Store
from swarm.types import Role
from swarm.wiring import Tree, image_shipment, in_process

if TYPE_CHECKING:
    from swarm.models.admission.authority import AdmissionAuthority

Placing = Callable[[LocalExecutor], Executor]
"""Gives what makes the attempts that an executor would make here."""

_HERE = "run it with --executor local"


def here(local: LocalExecutor) -> Executor:
    """In this process."""
    return local


def refuse_elsewhere(config: RunConfig, parts: Parts, *, attached: bool = False) -> None:
    """Refuse what attempts on other machines cannot have.

    Raises:
        UsageError: the run needs it.
    """
    if config.executor == "local":
        return
    from swarm.executors.ray.cluster import check_address, load

    check_address(config.ray_address)
    load()
    needs = {
        "a file of recorded answers (--record, --replay) is written and read by one process": config.record
        or config.replay,
        "MCP servers (--mcp) run on one machine": config.mcp,
        "other people's agents (--worker) work beside this process": config.worker,
        "sub-agents cannot have sub-agents of their own (--max-depth) on other machines yet": config.max_depth > 1,
        "attached documents (--attach) are read on this machine": attached,
        "a model of your own is an object of this process": parts.model,
        "sandboxes of your own are objects of this process": parts.backend,
    }
    for text, wanted in needs.items():
        if wanted:
            raise UsageError(f"--executor {config.executor}: {text}", remedy=_HERE)
    for tool in parts.tools:
        try:
            pickle.dumps(tool)
        except Exception as error:  # noqa: BLE001  anything may be raised by what is anyone's
            raise UsageError(
                f"--executor {config.executor}: the tool {tool.name!r} cannot be sent to other machines ({error})",
                remedy="define it at the top of a module that is installed there, and name it: tools = 'package:tool'",
            ) from None


@asynccontextmanager
async def open_placing(
    mission: Mission, sink: EventSink, tree: Tree | None, board: Board, artifacts: Artifacts, workdir: str
) -> AsyncIterator[Placing]:
    """Where the attempts of a run are made, for as long as the block lasts.

    Raises on entering:
        UsageError: Ray is missing, or the run has what cannot be sent.
        MachineError: the cluster cannot be reached.
    """
    config = mission.config
    if config.executor == "local":
        yield here
        return
    from swarm.executors.ray.executor import RayExecutor
    from swarm.executors.ray.fleet import Home, open_fleet
    from swarm.executors.ray.messages import Supplies
    from swarm.node import open_station

    model = mission.models.by_role[Role.SUBAGENT].name
    asked = config.model_of("subagent") or model
    served = await _endpoints_of(asked, config)
    store = Store(mission.folder / "repo.git", tree) if tree is not None else None
    supplies = Supplies(
        version=__version__,
        run_id=mission.run_id,
        config=_sent(config, mission.ground.backend.name),
        model=asked,
        endpoints=served,
        price=mission.models.prices[Role.SUBAGENT],
        repo=str(mission.repo) if mission.repo is not None else None,
        store=None,
        compact=mission.prompts["compact"],
        board=config.board,
        tools=mission.parts.tools,
        workdir=workdir,
    )
    async with AsyncExitStack() as stack:
        authorities = await _authorities(stack, served, config)
        ours = Home(sink, store, artifacts, board, authorities, image_shipment(mission.ground.backend, config))
        luggage = (await store.bundle(), tree.base) if store is not None and tree is not None else None
        fleet = await stack.enter_async_context(open_fleet(config.ray_address, ours, supplies, luggage, open_station))
        yield lambda local: RayExecutor(fleet, local)


async def _endpoints_of(name: str, config: RunConfig) -> tuple[Endpoint, ...] | None:
    """Where a model is served, with the keys and what is known of it; None for an endpoint in process."""
    if in_process(name, config):
        return None
    served = []
    for each in replicas_of(endpoint_of(name, config, os.environ), config):
        knowledge = knowledge_of(each, config, home(os.environ))
        await knowledge.load()
        served.append(replace(each, capabilities=knowledge.current))
    return tuple(served)


async def _authorities(
    stack: AsyncExitStack, served: tuple[Endpoint, ...] | None, config: RunConfig
) -> Mapping[str, AdmissionAuthority]:
    """Who admits the calls of all nodes to each endpoint: the governor that admits our own."""
    from swarm.models.admission.authority import AdmissionAuthority

    found: dict[str, AdmissionAuthority] = {}
    for each in served or ():
        key = each.key.get_secret_value() if each.key is not None else None
        opened = open_governor(each.base_url, key, config.max_in_flight, config.park)
        found[each.base_url] = AdmissionAuthority(await stack.enter_async_context(opened))
    return found


def _sent(config: RunConfig, sandbox: str) -> RunConfig:
    """The configuration as it is sent: with the sandbox that is used here, and without keys, which go by themselves."""
    nowhere: dict[str, Path | None] = {"api_key_file": None, "record": None}
    return config.model_copy(update={**nowhere, "api_key": None, "api_key_keyring": None, "sandbox": sandbox})
