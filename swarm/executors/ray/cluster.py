"""Ray itself: connecting to a cluster, its nodes, and an actor on each.

Nothing is told to Ray's makers or its dashboard, and what workers print stays where they are.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from swarm.errors import MachineError, UsageError

OWN = "local"
"""The address of a Ray of our own, on this machine alone, for as long as it is wanted."""

KNOCK_S = 10.0
_HERE = ("localhost", "127.0.0.1", "[::1]")

T = TypeVar("T")

_LOCK = threading.Lock()
_OPEN: list[bool] = []
"""Who of this process has Ray open, the first of them with whether it was us who connected."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster; `name` is for people."""

    id: str
    name: str
    cpus: float


def load() -> ModuleType:
    """The library.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of its own next version
    try:
        ray = importlib.import_module("ray")
        # Ray imports this in whatever thread serialises first, LangGraph in ours: where both begin at once, one fails.
        importlib.import_module("pydantic.v1.fields")
        return ray
    except ImportError as error:
        raise UsageError(
            f"--executor ray needs Ray, which cannot be imported here ({error})", remedy="pip install 'swarm[ray]'"
        ) from None


def check_address(address: str | None) -> None:
    """Raises: UsageError: there is no way to it."""
    address = _sought(address)
    if address is not None and address.startswith("ray://"):
        raise UsageError(
            f"{address} is the address of a Ray Client, by which no events can be streamed",
            remedy="start swarm on a machine of the cluster, with --ray-address auto or HOST:PORT of its head (6379)",
        )


def _sought(address: str | None) -> str | None:
    """Where Ray will look."""
    return os.environ.get("RAY_ADDRESS") or address if address in (None, "auto") else address


def _knock(address: str | None, own_ip: Callable[[], str]) -> None:
    """Look whether anybody listens at HOST:PORT: Ray itself asks for minutes, and cannot be stopped.

    Raises:
        OSError: nobody does.
    """
    host, _, port = (_sought(address) or "").rpartition(":")
    if host and port.isdecimal():
        host = own_ip() if host in _HERE else host.strip("[]")  # as Ray does
        socket.create_connection((host, int(port)), KNOCK_S).close()


@asynccontextmanager
async def open_cluster(address: str | None) -> AsyncIterator[Cluster]:
    """A connection, which runs of this process share; a program that is connected already is left as it is.

    `address`: `local` for a Ray of our own, HOST:PORT of a head; `auto` and None: as Ray itself looks, by RAY_ADDRESS,
    then for one that runs on this machine, and with None at last as `local`.

    Raises:
        UsageError: Ray is missing, or there is no way to the address.
        MachineError: nobody answers there.
    """
    check_address(address)
    ray = load()

    def connect() -> None:
        with _LOCK:
            ours = False
            if not _OPEN and not ray.is_initialized():
                _knock(address, ray.util.get_node_ip_address)
                with _quiet():
                    ray.init(
                        address=address,
                        namespace="swarm",
                        log_to_driver=False,
                        configure_logging=False,
                        include_dashboard=False,
                    )
                # It would tell of lost nodes on our standard output, whatever `log_to_driver` says; we tell of them.
                vars(importlib.import_module("ray._private.worker"))["print_to_stdstream"] = _say_nothing
                ours = True
            _OPEN.append(ours or (bool(_OPEN) and _OPEN[0]))

    def leave() -> None:
        with _LOCK:
            ours = _OPEN.pop()
            if not _OPEN and ours:
                ray.shutdown()

    # Beside the main thread it leaves the program's signal handlers alone.
    try:
        await anyio.to_thread.run_sync(connect)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise MachineError(
            f"Ray at {address or 'this machine'} cannot be reached: {said}",
            remedy="is it running (`ray status`), and of the same version?",
        ) from error
    try:
        yield Cluster(ray)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(leave)


def _say_nothing(*_: object, **__: object) -> None:
    """In the place of what prints."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray warns that it leaves signals alone, which is what is wanted."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class Cluster:
    """A cluster that this process is connected to."""

    def __init__(self, ray: ModuleType) -> None:
        self._ray = ray

    @property
    def lost(self) -> tuple[type[Exception], ...]:
        """What is raised where an actor, or its node, is gone."""
        errors = self._ray.exceptions
        return (errors.RayError,)

    async def nodes(self) -> list[Node]:
        """The machines that may work: those with processors to give.

        Raises:
            MachineError: the cluster's head is gone.
        """
        try:
            found = await anyio.to_thread.run_sync(self._ray.nodes)
        except (self._ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise MachineError(
                f"the head of the Ray cluster does not answer any more: {said}",
                remedy="is it running (`ray status`)? then `swarm resume`",
            ) from error
        alive = [each for each in found if each["Alive"] and each["Resources"].get("CPU", 0) > 0]
        return [
            Node(each["NodeID"], f"{each['NodeManagerHostname']}/{each['NodeID'][:6]}", each["Resources"]["CPU"])
            for each in sorted(alive, key=lambda each: str(each["NodeID"]))
        ]

    async def put(self, value: Any) -> Any:
        """Hold a value where every node gets it once."""
        return await anyio.to_thread.run_sync(self._ray.put, value)

    async def place(self, node: Node, kind: Callable[..., Any], *given: Any) -> Any:
        """An actor on a node. It ends with this process, or by `end`."""
        strategies = importlib.import_module("ray.util.scheduling_strategies")

        def make() -> Any:
            options = {
                "num_cpus": 0,
                "max_concurrency": 64,
                "max_restarts": 0,
                "scheduling_strategy": strategies.NodeAffinitySchedulingStrategy(node.id, soft=False),
            }
            return self._ray.remote(kind).options(**options).remote(*given)

        return await anyio.to_thread.run_sync(make)

    async def end(self, actor: Any) -> None:
        """End an actor at once."""
        await anyio.to_thread.run_sync(lambda: self._ray.kill(actor, no_restart=True))
