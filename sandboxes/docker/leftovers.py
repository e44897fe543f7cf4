"""What runs leave in an engine of Docker: found by the label that bears the path of a lease's folder.

A lease knows the engines in which something was made for it, so that nobody who left nothing there need ask, or import
what it takes to ask.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from swarm.errors import MachineError, SandboxError
from swarm.sandboxes.leases.leftover import LABEL, Leftover
from swarm.sandboxes.leases.records import read_record

if TYPE_CHECKING:
    from docker import APIClient

ENGINES = "engines"
"""The file in a lease's folder that names them, an address a line."""

_DIAL_S = 2.0
_CALL_S = 8.0

Found = Mapping[str, list[Leftover]]
"""What bears a label, by the folder that it names."""


def note_engine(lease: Path, address: str) -> None:
    """Tell whoever clears up after a lease that something of it is in that engine. To be called before it is."""
    with open(lease / ENGINES, "a", encoding="utf-8") as file:
        file.write(f"{address}\n")


def engines_of(lease: Path) -> tuple[str, ...]:
    """The engines that a lease may have left something in.

    Raises:
        OSError: that cannot be read.
    """
    return tuple(dict.fromkeys(line.strip() for line in read_record(lease / ENGINES) if line.strip()))


class Engines:
    """Engines that are asked when somebody wants to know, and once each; to be used in a `with` block. All of it
    blocks. `patience`: seconds in which an engine answers when it is asked what there is."""

    def __init__(self, patience: float = _CALL_S) -> None:
        self._patience = patience
        self._stack = ExitStack()
        self._asked: dict[str, Found | MachineError] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def labelled(self, address: str) -> Found:
        """All in that engine that bears the label of some lease, of whatever home.

        Raises:
            MachineError: it cannot be looked at.
        """
        if address not in self._asked:
            try:
                self._asked[address] = self._ask(address)
            except MachineError as error:
                self._asked[address] = error
        answer = self._asked[address]
        if isinstance(answer, MachineError):
            raise answer
        return answer

    def _ask(self, address: str) -> Found:
        _knock(address)
        import docker
        import docker.errors
        import requests

        try:
            client = docker.APIClient(address, timeout=int(self._patience), version="auto")
            self._stack.callback(client.close)
            found = _everything(client, address)
            client.timeout = int(_CALL_S)  # to remove something takes longer
            return found
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise SandboxError(f"the Docker Engine at {address} does not answer: {_words(error)}") from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise SandboxError(f"what answers at {address} is no Docker Engine: {_words(error)}") from error


def _knock(address: str) -> None:
    """Ask whether anybody is there: quick, and the docker package leaks a socket where nobody answers."""
    try:
        if address.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as knock:
                knock.settimeout(_DIAL_S)
                knock.connect(address.removeprefix("unix://"))
        else:
            host, _, port = address.removeprefix("tcp://").rstrip("/").rpartition(":")
            socket.create_connection((host or "localhost", int(port)), _DIAL_S).close()
    except PermissionError as error:
        raise SandboxError(f"this user may not use the Docker Engine at {address}") from error
    except (OSError, ValueError, OverflowError) as error:
        raise SandboxError(f"the Docker Engine is not running at {address}") from error


def _everything(client: APIClient, address: str) -> Found:
    """Containers first: the others cannot go while one uses them."""
    asked = {"label": [LABEL]}
    found: dict[str, list[Leftover]] = {}

    def keep(kind: str, labels: Mapping[str, str] | None, name: str, remove: Callable[[], object]) -> None:
        if labels and LABEL in labels:
            thing = Leftover(kind, f"{name} ({address})", partial(_removed, address, remove))
            found.setdefault(labels[LABEL], []).append(thing)

    for container in client.containers(all=True, filters=asked):
        name = (container.get("Names") or [container["Id"][:12]])[0].removeprefix("/")
        keep("container", container.get("Labels"), name, _container(client, container["Id"]))
    for volume in client.volumes(filters=asked).get("Volumes") or ():
        keep("volume", volume.get("Labels"), volume["Name"], partial(client.remove_volume, volume["Name"], force=True))
    for network in client.networks(filters=asked):
        keep("network", network.get("Labels"), network["Name"], partial(client.remove_network, network["Id"]))
    for image in client.images(filters=asked):
        name = (image.get("RepoTags") or [image["Id"][:19]])[0]
        keep("image", image.get("Labels"), name, partial(client.remove_image, image["Id"], force=True))
    return found


def _container(client: APIClient, id: str) -> Callable[[], object]:
    return partial(client.remove_container, id, force=True, v=True)


def _removed(address: str, remove: Callable[[], object]) -> None:
    import docker.errors
    import requests

    try:
        remove()
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if error.status_code == 409 and "in progress" in _words(error):  # somebody else removes it
            return
        raise SandboxError(f"the Docker Engine at {address} says: {_words(error)}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise SandboxError(f"the Docker Engine at {address} does not answer: {_words(error)}") from error


def _words(error: Exception) -> str:
    text: Any = getattr(error, "explanation", None) or error
    return " ".join(str(text).split())


def usual_engine() -> str | None:
    """The engine that DOCKER_HOST names, else this machine's own where it has one that this user may use: in another
    they left nothing."""
    from swarm.sandboxes.docker.engine import SOCKET

    named = os.environ.get("DOCKER_HOST")
    if named:
        return named if named.startswith(("unix://", "tcp://")) else None
    usable = os.access(SOCKET.removeprefix("unix://"), os.R_OK | os.W_OK, effective_ids=True)
    return SOCKET if usable else None
