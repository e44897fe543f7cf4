"""An image that a node's engine lacks comes from the driver's: exported from an engine, and loaded into it when it has
it no more, as if they were two."""

from __future__ import annotations

import io
import os
import secrets
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import docker
import pytest
from anyio.abc import ObjectReceiveStream

from swarm.executors.ray.freight import Store, ship
from swarm.sandboxes.docker.shipping import PART_BYTES, ImageShipment

pytestmark = pytest.mark.anyio


@dataclass
class FromElsewhere:
    """A shipment whose engine at home is another: it has the image, whatever this one does."""

    shipment: ImageShipment
    saved: list[bytes]
    asked: int = 0

    @property
    def name(self) -> str:
        return self.shipment.name

    async def here(self) -> bool:
        return True

    async def parts(self) -> AsyncIterator[bytes]:
        self.asked += 1
        for part in self.saved:
            yield part

    def missing(self, home: Path) -> AbstractAsyncContextManager[bool]:
        return self.shipment.missing(home)

    async def load(self, parts: ObjectReceiveStream[bytes]) -> None:
        await self.shipment.load(parts)


class Actor:
    """A node's side as Ray shows it: whatever is called has begun before it is awaited."""

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self._store = Store()
        self._group = group

    def __getattr__(self, name: str) -> Any:
        actor, method = self, getattr(self._store, name)

        class Method:
            def remote(self, *given: Any) -> Any:
                return actor.begin(method, *given)

        return Method()

    def begin(self, method: Callable[..., Any], *given: Any) -> Any:
        over, result = anyio.Event(), []

        async def work() -> None:
            result.append(await method(*given))
            over.set()

        async def wait() -> Any:
            await over.wait()
            return result[0]

        self._group.start_soon(work)
        return wait()


async def sent(shipment: FromElsewhere) -> str:
    async with anyio.create_task_group() as group:
        return await ship(Actor(group), shipment)
    raise AssertionError


@pytest.fixture
def image(docker_box: str) -> Iterator[str]:
    """One of several parts."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = 2 * PART_BYTES
        archive.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    client = docker.DockerClient(docker_box)
    name = f"swarm-test-shipped:{secrets.token_hex(8)}"
    try:
        client.api.import_image_from_data(buffer.getvalue(), repository=name.split(":")[0], tag=name.split(":")[1])
        yield name
    finally:
        for found in client.images.list(name):
            client.images.remove(str(found.id), force=True)
        client.close()


async def test_an_image_comes_once_to_an_engine_that_lacks_it(
    image: str, docker_box: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    shipment = ImageShipment(image)
    assert await shipment.here()
    parts = [part async for part in shipment.parts()]
    assert len(parts) > 2
    client = docker.DockerClient(docker_box)
    try:
        made = client.images.get(image).id
        client.images.remove(image)
        assert not await shipment.here()

        cut = FromElsewhere(shipment, parts[:1])
        assert await sent(cut)  # why it cannot be taken
        assert not client.images.list(image)

        whole = FromElsewhere(shipment, parts)
        assert await sent(whole) == ""
        assert client.images.get(image).id == made
        assert await sent(whole) == ""
        assert whole.asked == 1
    finally:
        client.close()
