"""What an outpost on a node of a cluster makes attempts with: opened there, as a session opens it at home."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from swarm import __version__
from swarm.agents.context import ContextPolicy
from swarm.budgets.budget import Budget
from swarm.budgets.levels import Limits
from swarm.config import Price, RunConfig
from swarm.errors import MachineError
from swarm.events import Notice
from swarm.executors.ray.messages import Supplies
from swarm.executors.ray.outpost import ADMISSION
from swarm.executors.ray.relay import RecordedService, Relay, RelayedArtifacts, SentRepository
from swarm.executors.ray.station import Station
from swarm.ground import open_grounds
from swarm.journal.redaction import Redactor
from swarm.models.admission.leased import LeasedGovernor
from swarm.models.fitting.capabilities import Knowledge
from swarm.models.providers import Endpoint
from swarm.models.tokens import TokenRatio
from swarm.places.pool import open_pool
from swarm.places.refusals import refusals
from swarm.places.workshop import Workshop
from swarm.protocols import Repository
from swarm.site import sandbox_site
from swarm.stores import Store, plant
from swarm.types import Role
from swarm.wiring import Admission, Models, open_model, open_toolkit, working_copies

_AGENT_BYTES = 256 << 20
"""Of memory, what an agent with its sandbox takes when it is busy."""

_PER_CPU = 32


@asynccontextmanager
async def open_station(supplies: Supplies, relay: Relay) -> AsyncIterator[Station]:
    """All that attempts of a run need on this machine; nothing of it is left when the block is.

    Raises on entering:
        UsageError: something that the configuration names cannot be used here.
        MachineError: the sandbox does not work here, or swarm is of another version.
    """
    if supplies.version != __version__:
        raise MachineError(
            f"swarm {__version__} is installed there, and the run is one of {supplies.version}",
            remedy="install the same version on all nodes",
        )
    config = supplies.config
    async with AsyncExitStack() as stack:
        grounds = await stack.enter_async_context(open_grounds(None))
        name = f"{supplies.run_id}.{secrets.token_hex(3)}"
        ground = await stack.enter_async_context(grounds.ground(name, config))
        await ground.hold()
        store, repository = await _plant(supplies, ground.lease / "repo.git", relay)
        repo = Path(supplies.repo) if supplies.repo else None
        site = await sandbox_site(ground.backend, config, repo if repo is not None and repo.is_dir() else None)
        workshop = Workshop(
            run_id=supplies.run_id,
            lease=ground.lease,
            backend=ground.backend,
            copies=await working_copies(ground.backend, ground.lease, ground.lease / "repo.git" if store else None),
            repository=repository,
            workdir=supplies.workdir,
            shown=site.shown,
            network=config.network,
            refused=refusals(relay),
            hold=ground.hold,
        )
        governors: dict[str, LeasedGovernor] = {}

        @asynccontextmanager
        async def admitted(url: str, key: str | None, ceiling: int, park: float) -> AsyncIterator[LeasedGovernor]:
            governors[url] = LeasedGovernor(partial(relay.outbox.say, ADMISSION + url))
            yield governors[url]

        models = await stack.enter_async_context(
            _open_models(config, supplies.model, supplies.endpoints, supplies.price, admitted)
        )
        keys = [each.key.get_secret_value() for each in supplies.endpoints or () if each.key is not None]
        artifacts = RelayedArtifacts(relay, Redactor({f"key-{number}": key for number, key in enumerate(keys, 1)}))
        slots = _slots()
        pool = await stack.enter_async_context(open_pool(workshop, slots))
        tools = await stack.enter_async_context(
            open_toolkit(config, store is not None, _notify(relay), supplies.tools, artifacts)
        )
        line = models.line(Role.SUBAGENT, config, Budget(Limits()), relay)

        def told(channel: str, message: Any) -> None:
            if (governor := governors.get(channel.removeprefix(ADMISSION))) is not None:
                governor.hear(message)

        yield Station(
            pool=pool,
            line=replace(line, service=RecordedService(line.service, relay)),
            tools=tools,
            context=ContextPolicy(supplies.compact, artifacts),
            slots=slots,
            learn=store.unpack if store is not None else _nothing,
            told=told,
            notices=(ground.notice,) if ground.notice else (),
        )


@asynccontextmanager
async def _open_models(
    config: RunConfig, name: str, served: Sequence[Endpoint] | None, price: Price | None, admission: Admission
) -> AsyncIterator[Models]:
    """The model of sub-agents where it is said to be served (None: in process)."""
    told = None
    if served is not None:
        told = [(each, Knowledge(each.base_url, each.model, provider=each.capabilities)) for each in served]
    async with AsyncExitStack() as stack:
        service, window = await open_model(stack, name, config, told, admission if served is not None else None)
        role = Role.SUBAGENT
        yield Models({role: service}, {role: price}, {role: TokenRatio()}, {role: window})


async def _plant(supplies: Supplies, folder: Path, relay: Relay) -> tuple[Store | None, Repository | None]:
    if supplies.store is None:
        return None, None
    store = await plant(supplies.store, folder)

    async def pack(commit: str, known: Collection[str]) -> bytes:
        return await store.pack([commit], sorted(known))

    return store, cast(Repository, SentRepository(store.tree, relay, pack))


def _notify(relay: Relay) -> Callable[[str], None]:
    def tell(text: str) -> None:
        relay.emit(Notice(message=text, level="warning"))

    return tell


async def _nothing(_: bytes) -> None:
    """There is no store."""


def _slots() -> int:
    """How many agents this machine has room for."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(_PER_CPU * (os.cpu_count() or 1), memory // _AGENT_BYTES))
