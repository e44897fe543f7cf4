"""The composition root: names become objects here, and only here. Everything heavy is imported when it is wanted."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from swarm.config import HOST_IMAGE, RunConfig, home
from swarm.errors import UsageError
from swarm.models.governor import Governor
from swarm.models.pricing import EMBEDDED, price_of
from swarm.models.service import GovernedModel
from swarm.protocols import Model, ModelService, Repository, SandboxBackend
from swarm.types import Role

if TYPE_CHECKING:
    from swarm.agent import ToolKit
    from swarm.budget import Budget
    from swarm.conversation import Line
    from swarm.protocols import EventSink

ModelRole = Literal["planner", "subagent", "aggregator"]
_IN_FLIGHT = 256
_WORKDIR = "/workspace"
_OWN_TOOLS = (".venv", "venv", "node_modules")
_ROLES: dict[ModelRole, Role] = {
    "planner": Role.ORCHESTRATOR,
    "subagent": Role.SUBAGENT,
    "aggregator": Role.AGGREGATOR,
}


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a process, by role."""

    by_role: Mapping[Role, ModelService]

    def line(self, role: Role, config: RunConfig, budget: Budget, sink: EventSink) -> Line:
        """How a role of one run reaches its model."""
        from swarm.conversation import Line

        service = self.by_role[role]
        return Line(
            service=service,
            budget=budget,
            sink=sink,
            price=price_of(service.name, config.prices),
            temperature=config.temperature,
            seed=config.seed,
            call_timeout=config.call_timeout,
            rng=random.Random(config.seed),
        )


@asynccontextmanager
async def open_models(config: RunConfig) -> AsyncIterator[Models]:
    """The models that a configuration names; `embedded` starts the embedded endpoint for as long.

    Raises:
        UsageError: no model or no endpoint is configured, or a price is missing that the budget needs.
    """
    names = {role: config.model_of(role) for role in _ROLES}
    unset = [role for role, name in names.items() if not name]
    if unset:
        raise UsageError("no model is named", remedy=await _how_to_name_one(config))
    if not config.base_url and not all(_in_process(name, config) for name in names.values() if name):
        raise UsageError("no endpoint is named", remedy=await _how_to_name_one(config))
    unpriced = sorted({name for name in names.values() if name and price_of(name, config.prices) is None})
    if config.budget_usd is not None and unpriced:
        raise UsageError(
            f"a budget in dollars cannot be kept: no price is known for {', '.join(unpriced)}",
            remedy="give it under [prices] in swarm.toml (dollars per million tokens), or use --budget-tokens",
        )
    async with AsyncExitStack() as stack:
        opened: dict[str, ModelService] = {}
        governor = Governor(_IN_FLIGHT)
        for name in filter(None, names.values()):
            if name not in opened:
                opened[name] = GovernedModel(await _open_model(stack, name, config), governor)
        by_role = {_ROLES[role]: opened[name] for role, name in names.items() if name}
        yield Models(by_role)


async def _open_model(stack: AsyncExitStack, name: str, config: RunConfig) -> Model:
    from swarm.models.client import OpenAIModel, open_client

    if _in_process(name, config):
        url, key, name = await _embedded_url(stack, name), None, EMBEDDED
    else:
        url, key = config.base_url, config.api_key.get_secret_value() if config.api_key else None
    return OpenAIModel(await stack.enter_async_context(open_client(url, key)), name)


def _in_process(name: str, config: RunConfig) -> bool:
    """Whether a model is an embedded endpoint of our own; bare `embedded` may also be one that runs elsewhere."""
    return name.split(":")[0] == EMBEDDED and not (name == EMBEDDED and config.base_url)


async def _embedded_url(stack: AsyncExitStack, name: str) -> str | None:
    from swarm.embedded.catalog import load_policies
    from swarm.embedded.server import running_endpoint

    policies, faults = load_policies(name.partition(":")[2] or "repair")
    return await stack.enter_async_context(running_endpoint(policies, faults=faults))


async def _how_to_name_one(config: RunConfig) -> str:
    from swarm.models.local_servers import find

    ways = []
    for url, models in await find():
        ways.append(f"found {url} with {', '.join(models[:3]) or 'no model'}: --base-url {url} --model NAME")
    ways.append("give --model and --base-url (or SWARM_MODEL and OPENAI_BASE_URL)")
    ways.append("or --model embedded for the repair of Python programs without a language model")
    return "; ".join(ways)


@asynccontextmanager
async def open_sandboxes(config: RunConfig, lease: Path) -> AsyncIterator[SandboxBackend]:
    """The backend that the configuration names, proved to work here. `lease` as in `SandboxRequest`.

    Raises:
        SandboxError: it cannot be used on this machine.
    """
    from swarm.sandboxes.catalog import open_backend

    async with open_backend(config.sandbox, lease, image=config.image) as backend:
        yield backend


@asynccontextmanager
async def open_lease(run_id: str) -> AsyncIterator[Path]:
    """The folder for whatever a run makes on this machine beside its record; gone at the end. What earlier runs left
    behind that were killed is removed first.

    Raises on entering:
        MachineError: it cannot be made.
    """
    from swarm.sandboxes import lease
    from swarm.sandboxes.reaper import reap

    place = home(os.environ)
    async with lease.open_lease(place, run_id) as held:
        await reap(place)
        yield held.folder


async def find_repository(start: Path) -> Path:
    """The root of the git repository around `start`.

    Raises:
        UsageError: there is none, or it cannot be worked on.
    """
    from swarm.sandboxes import workspace

    return await workspace.find_repository(start)


async def take_snapshot(repo: Path, store: Path) -> Tree:
    """The user's tree, uncommitted changes included, in a store of the run's own."""
    from swarm.sandboxes.workspace import snapshot

    return await snapshot(repo, store)


class Tree(Repository, Protocol):
    """A repository that was taken from a user's checkout."""

    @property
    def head(self) -> str:
        """The user's HEAD."""
        ...

    async def set_answer(self, commit: str) -> None:
        """Let a ref of the store name the commit that the run ended with."""
        ...


@dataclass(frozen=True, slots=True)
class Site:
    """How a sandbox looks from inside: where the workspace is, the environment, what else is visible."""

    workdir: str
    env: Mapping[str, str]
    toolchain: tuple[Path, ...]
    notice: str = ""


async def sandbox_site(backend: SandboxBackend, config: RunConfig, repo: Path | None) -> Site:
    """The site for a backend. On the machine's own root the copy stands at the repository's own path, so that
    absolute paths and editable installs mean the copy; the user's Python is visible read-only."""
    if backend.name == "docker" and config.image != HOST_IMAGE:
        return Site(_WORKDIR, {}, config.toolchain)
    from swarm.sandboxes.toolchain import discover

    own = [repo / name for name in _OWN_TOOLS if repo and (repo / name).is_dir()] if repo else []
    path = os.pathsep.join([*(str(folder / "bin") for folder in own), os.environ.get("PATH", "")])
    found, entries = await discover({"PATH": path, "HOME": os.environ.get("HOME", "/")}, repo)
    toolchain = tuple(dict.fromkeys((*config.toolchain, *own, *found)))
    notice = (
        "no isolation: --sandbox process runs commands as you, on this machine" if backend.name == "process" else ""
    )
    return Site(str(repo or _WORKDIR), {"PATH": os.pathsep.join(entries)}, toolchain, notice)


@asynccontextmanager
async def open_toolkit(config: RunConfig, on_repository: bool) -> AsyncIterator[ToolKit]:
    """The tools of sub-agents; servers that give some of them live as long as the block.

    Raises on entering:
        UsageError: a tool or a file that the configuration names cannot be used.
        MachineError: a server did not start.
    """
    from swarm.tools import toolsets
    from swarm.tools.registry import Toolset

    tools = [*(toolsets.coding() if on_repository else toolsets.plain()), *map(toolsets.extra_tool, config.tools)]
    if config.web_hosts or config.search:
        from swarm.tools.web import web_tools

        tools += web_tools(config.web_hosts, config.search)
    async with AsyncExitStack() as stack:
        if config.mcp is not None:
            from swarm.tools.mcp import open_servers
            from swarm.tools.mcp_config import load_servers

            tools += await stack.enter_async_context(open_servers(load_servers(config.mcp)))
        yield toolsets.Kit(Toolset(tools))
