"""The composition root: names become objects here, and only here. Everything heavy is imported when it is wanted."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import SecretStr

from swarm.calls import StreamLimits
from swarm.config import HOST_IMAGE, Price, RunConfig, home
from swarm.errors import UsageError
from swarm.journal.past import Past
from swarm.loading import lightly
from swarm.models.admission.governor import Governor
from swarm.models.admission.governors import open_governor
from swarm.models.fitting.capabilities import Knowledge, given_by, knowledge_of
from swarm.models.fitting.images import Pictured
from swarm.models.fitting.windows import ContextWindow, given_window, window_of
from swarm.models.pricing import known_price
from swarm.models.providers import EMBEDDED, Endpoint, endpoint_of, names_provider, replicas_of
from swarm.models.service import GovernedModel
from swarm.models.tokens import TokenRatio
from swarm.protocols import Model, ModelService, Repository, SandboxBackend, Tool, WorkingCopies
from swarm.retry import RetryPolicy
from swarm.stopping import companions
from swarm.types import Role

if TYPE_CHECKING:
    from swarm.agents.agent import ToolKit
    from swarm.agents.conversation import Line
    from swarm.budgets.budget import Budget
    from swarm.documents.library import Library
    from swarm.executors.ray.freight import Shipment
    from swarm.journal.artifacts import Artifacts
    from swarm.models.admission.admitting import Admitting
    from swarm.models.tapes.replay import Tape
    from swarm.models.warmth import WarmedModel
    from swarm.protocols import EventSink
    from swarm.sandboxes.copies.shelf import Lent

ModelRole = Literal["planner", "subagent", "aggregator"]
_ROLES: dict[ModelRole, Role] = {
    "planner": Role.ORCHESTRATOR,
    "subagent": Role.SUBAGENT,
    "aggregator": Role.AGGREGATOR,
}


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a process, by role, with what is known of their prices and tokens."""

    by_role: Mapping[Role, ModelService]
    prices: Mapping[Role, Price | None]
    ratios: Mapping[Role, TokenRatio]
    windows: Mapping[Role, ContextWindow]
    tape: Tape | None = None
    """What is replayed, if anything is."""

    def line(self, role: Role, config: RunConfig, budget: Budget, sink: EventSink, past: Past | None = None) -> Line:
        """How a role of one run reaches its model."""
        from swarm.agents.conversation import Line

        return Line(
            service=self.by_role[role],
            budget=budget,
            sink=sink,
            price=self.prices[role],
            ratio=self.ratios[role],
            window=self.windows[role],
            retry=RetryPolicy(park=config.park > 0),
            temperature=config.temperature,
            seed=config.seed,
            call_timeout=config.call_timeout,
            stream=StreamLimits(config.first_token_timeout, config.stall_timeout) if config.stream else None,
            rng=random.Random(config.seed),
            past=past or Past(),
        )


@asynccontextmanager
async def open_models(config: RunConfig, given: Model | None = None) -> AsyncIterator[Models]:
    """The models that a configuration names, or the given one for all roles; `embedded` starts the embedded endpoint
    for as long.

    Raises:
        UsageError: no model or no endpoint is configured, or a price is missing that the budget needs.
    """
    if config.record is not None and config.replay is not None:
        raise UsageError("a run is recorded or replayed, not both", remedy="give --record or --replay")
    if config.replay is not None:
        from swarm.models.tapes.tapes import replayed

        held = replayed(config, config.replay)
        ratios = _ratios({role: service.name for role, service in held.services.items()})
        yield Models(held.services, held.prices, ratios, held.windows, held.tape)
        return
    names = {role: given.name if given is not None else config.model_of(role) for role in _ROLES}
    unset = [role for role, name in names.items() if not name]
    if unset:
        raise UsageError("no model is named", remedy=await _how_to_name_one(config))
    named = list(dict.fromkeys(filter(None, names.values())))
    served = given is not None or bool(config.base_url)
    if not served and not all(in_process(name, config) or names_provider(name, config) for name in named):
        raise UsageError("no endpoint is named", remedy=await _how_to_name_one(config))
    prices = {
        name: known_price(name, config, os.environ) if given is None else config.prices.get(name) for name in named
    }
    unpriced = sorted(name for name, price in prices.items() if price is None)
    if config.budget_usd is not None and unpriced:
        raise UsageError(
            f"a budget in dollars cannot be kept: no price is known for {', '.join(unpriced)}",
            remedy="give it under [prices] in swarm.toml (dollars per million tokens), or use --budget-tokens",
        )
    async with AsyncExitStack() as stack:
        opened: dict[str, ModelService] = {}
        windows = dict.fromkeys(named, given_window(config.context_tokens))
        for name in named:
            if given is None:
                opened[name], windows[name] = await open_model(stack, name, config)
            else:  # a model of the caller's own, with an admission of its own
                opened[name] = GovernedModel(Pictured(given), Governor(config.max_in_flight, config.park))
        roles = {_ROLES[role]: name for role, name in names.items() if name}
        by_role = {role: opened[name] for role, name in roles.items()}
        if config.record is not None:
            from swarm.models.tapes.tapes import recorded

            role_prices = {role: prices[name] for role, name in roles.items()}
            told = {role: windows[name] for role, name in roles.items()}
            by_role = await stack.enter_async_context(recorded(config, config.record, by_role, role_prices, told))
        yield Models(
            by_role,
            {role: prices[name] for role, name in roles.items()},
            _ratios(roles),
            {role: windows[name] for role, name in roles.items()},
        )


def _ratios(names: Mapping[Role, str]) -> dict[Role, TokenRatio]:
    """One for each model, whatever its roles."""
    by_name = {name: TokenRatio() for name in names.values()}
    return {role: by_name[name] for role, name in names.items()}


Admission = Callable[[str, str | None, int, float], AbstractAsyncContextManager["Admitting"]]
"""Opens what admits calls to an endpoint: by its address and key, the most calls at once, and the seconds of `park`."""


async def open_model(
    stack: AsyncExitStack,
    name: str,
    config: RunConfig,
    told: Sequence[tuple[Endpoint, Knowledge]] | None = None,
    admission: Admission | None = None,
) -> tuple[ModelService, ContextWindow]:
    """A model with its window: where it was `told` that it is served, else as the configuration says."""
    with lightly():
        from swarm.models.fitting.fitted import FittedModel
        from swarm.models.warmth import WarmedModel
        from swarm.models.wire.client import OpenAIModel, open_client

    replicas: list[GovernedModel | WarmedModel] = []
    places = told if told is not None else await _places(stack, name, config)
    for where, knowledge in places:
        key = where.key.get_secret_value() if where.key else None
        opening = (admission or open_governor)(where.base_url, key, config.max_in_flight, config.park)
        governor = await stack.enter_async_context(opening)
        client = await stack.enter_async_context(open_client(where.base_url, key, governor.reached))
        plain = OpenAIModel(client, where.model, where.quirks)
        model = FittedModel(plain, knowledge, where.quirks, plain.declared)
        service = GovernedModel(model, governor, RetryPolicy(park=config.park > 0))
        caches = config.warm_prefix and where.model != EMBEDDED
        replicas.append(WarmedModel(service) if caches else service)
    window = window_of([knowledge for _, knowledge in places])
    if len(replicas) == 1:
        return replicas[0], window
    from swarm.models.router import RoutedModel

    return RoutedModel(replicas), window


async def _places(stack: AsyncExitStack, name: str, config: RunConfig) -> list[tuple[Endpoint, Knowledge]]:
    """Where a model is served, and what is known of it."""
    if not in_process(name, config):
        where = endpoint_of(name, config, os.environ)
        return [(each, knowledge_of(each, config, home(os.environ))) for each in replicas_of(where, config)]
    from swarm.embedded.catalog import load_policies
    from swarm.embedded.server import running_endpoint

    policies, faults = load_policies(name.partition(":")[2] or "repair")
    token = secrets.token_urlsafe(24)  # whoever else is on this machine has no business there
    url = await stack.enter_async_context(running_endpoint(policies, faults=faults, api_key=token))
    return [(Endpoint(url, EMBEDDED, SecretStr(token)), Knowledge(url, EMBEDDED, given=given_by(config)))]


def in_process(name: str, config: RunConfig) -> bool:
    """Whether a model is an embedded endpoint of our own; bare `embedded` may also be one that runs elsewhere."""
    return name.split(":")[0] == EMBEDDED and not (name == EMBEDDED and config.base_url)


async def _how_to_name_one(config: RunConfig) -> str:
    from swarm.models.local_servers import find

    ways = []
    for server in await find():
        held = "which needs a key" if server.needs_key else f"with {', '.join(server.models[:3]) or 'no model'}"
        key = "OPENAI_API_KEY and " if server.needs_key else ""
        ways.append(f"found {server.base_url} {held}: {key}--base-url {server.base_url} --model NAME")
    ways.append("give --model and --base-url (or SWARM_MODEL and OPENAI_BASE_URL)")
    ways.append("or a known provider with its model, such as --model moonshot/kimi-k2.5")
    ways.append("or --model embedded for the repair of Python programs without a language model")
    return "; ".join(ways)


async def find_repository(start: Path) -> Path:
    """The root of the git repository around `start`.

    Raises:
        UsageError: there is none, or it cannot be worked on.
    """
    from swarm.sandboxes.git import workspace

    return await workspace.find_repository(start)


def head_of(repo: Path) -> str:
    """The commit that a checkout is at, empty where there is none any more; blocks."""
    from swarm.sandboxes.git import workspace

    return workspace.head_of(repo)


async def take_snapshot(repo: Path, store: Path, *, again: bool = False) -> Tree:
    """The user's tree, uncommitted changes included, in a store of the run's own; `again`: as it was taken before."""
    from swarm.sandboxes.git import workspace

    return await (workspace.take_again(repo, store) if again else workspace.snapshot(repo, store))


async def working_copies(
    backend: SandboxBackend, lease: Path, store: Path | None, shelf: Lent | None = None
) -> WorkingCopies:
    """Where a run's sandboxes get their files from. `store` is what `take_snapshot` filled, None without one; `shelf`:
    what it shares with other runs."""
    from swarm.sandboxes.copies.layers import Layers

    if store is None:
        return Layers(lease, None, backend.owner)
    from swarm.sandboxes.git.workspace import reopen

    return Layers(lease, await reopen(store), backend.owner, shelf=shelf)


class Tree(Repository, Protocol):
    """A repository that was taken from a user's checkout."""

    @property
    def head(self) -> str:
        """The user's HEAD."""

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know of how it was taken."""

    async def set_answer(self, commit: str) -> None:
        """Let a ref of the store name the commit that the run ended with."""
        ...


def image_shipment(backend: SandboxBackend, config: RunConfig) -> Shipment | None:
    """How the image that sandboxes are made of gets to other machines; None where there is none."""
    if backend.name != "docker" or config.image == HOST_IMAGE:
        return None
    from swarm.sandboxes.docker.shipping import ImageShipment

    return ImageShipment(config.image)


def run_tools(config: RunConfig, on_repository: bool, given: Sequence[Tool]) -> Sequence[Tool]:
    """The tools of a run, but for those that need the run. Raises: UsageError where one cannot be used."""
    from swarm.orchestrators.delegation import ASSIGN, CREATE
    from swarm.tools import toolsets

    own = [*map(toolsets.extra_tool, config.tools), *given]
    return [*toolsets.with_own(toolsets.of_run(on_repository, config.web_hosts, config.search), own, (ASSIGN, CREATE))]


def document_tools(library: Library | None) -> Sequence[Tool]:
    """The tools for the documents that a run was given, none where it was given none."""
    if library is None:
        return ()
    from swarm.tools.documents import document_tools

    return document_tools(library)


@asynccontextmanager
async def open_toolkit(
    config: RunConfig, on_repository: bool, notify: Callable[[str], None], given: Sequence[Tool], artifacts: Artifacts
) -> AsyncIterator[ToolKit]:
    """The tools of sub-agents, and one that opens the run's artifacts; servers that give some of them live as long as
    the block. `notify`: told of one that broke meanwhile.

    Raises on entering:
        UsageError: a tool or a file that the configuration names cannot be used.
        MachineError: a server did not start.
    """
    from swarm.tools import toolsets
    from swarm.tools.artifacts import OpenArtifact
    from swarm.tools.registry import Toolset

    tools = [*run_tools(config, on_repository, given), OpenArtifact(artifacts)]
    async with AsyncExitStack() as stack:
        if config.mcp is not None:
            from swarm.tools.mcp import open_servers
            from swarm.tools.mcp_config import load_servers

            tools += await stack.enter_async_context(open_servers(load_servers(config.mcp), notify))
        yield toolsets.Kit(Toolset(tools), await stack.enter_async_context(companions()))
