"""Containers as the official harness has them: root, with a writable file system, from an instance's own image.

An agent never works in one of these: they are for looking into an image, for building one, and for grading, where the
image's own installation is changed. They bear the label of a lease, are killed and not waited for, and what they may
use is bounded but for their file system.
"""

from __future__ import annotations

import io
import os
import secrets
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import anyio

from swarm.errors import SandboxError
from swarm.sandboxes.docker.engine import Engine
from swarm.sandboxes.docker.images import ensure_named
from swarm.sandboxes.docker.leftovers import note_engine
from swarm.sandboxes.leases.leftover import LABEL

if TYPE_CHECKING:
    from docker import APIClient, DockerClient

MEMORY = 8 << 30
PIDS = 4096
USER = "root"
_REMOVAL_S = 60.0
_MOST = 512 << 20
"""Bytes of a command's output; what comes after them is read and thrown away."""

CALL_S = 3600.0
"""Seconds that the engine may take for one call: it may pull, commit or unpack an image, and says nothing while tests
are silent."""

_KILLED = 137
_NOTED_S = 3.0
_MEMORY_EVENTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")

Chunk = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A container that is wanted. `network` as the engine names it, None: its usual one; `shown`: folders of the host
    that are seen read-only, by their places inside."""

    image: str
    network: str | None = None
    shown: Mapping[str, Path] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: `code` is None where its time was up, and it was left to run until the container goes.
    `cut`: it wrote more than was told."""

    code: int | None
    seconds: float
    cut: bool = False


class Container:
    """A running container. `id` is its name."""

    def __init__(self, engine: Engine, id: str) -> None:
        self.id = id
        self._engine = engine

    async def run(
        self,
        command: str | Sequence[str],
        told: Chunk,
        *,
        workdir: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 600.0,
    ) -> Ended:
        """Run a command as root to its end, or for `timeout` seconds. `told` gets what it writes as it comes, both
        streams, in a thread. `env` is for this command alone: an image that is made of the container lacks it.

        Raises:
            SandboxError: the engine refused or is gone, or the container ended meanwhile.
        """
        began = time.monotonic()
        api = self._engine.client.api
        make = partial(api.exec_create, self.id, command, user=USER, workdir=workdir, environment=dict(env or {}))
        code, cut = None, False
        with anyio.move_on_after(timeout) as scope:
            code, cut = await self._engine.call(partial(_run, api, make, told), command=True, abandon=True)
        seconds = time.monotonic() - began
        late = scope.cancelled_caught
        if not await self._runs_on(killed=code == _KILLED) or (code is None and not late):
            raise SandboxError(f"container {self.id} ended while a command ran in it")
        return Ended(code, seconds, cut)

    async def _runs_on(self, killed: bool) -> bool:
        """Whether the container runs. A command that was `killed` may have ended with it, which the engine notes a
        little later."""
        last = time.monotonic() + (_NOTED_S if killed else 0.0)
        while True:
            found = await self._engine.call(partial(self._engine.client.api.inspect_container, self.id), command=True)
            if not found["State"]["Running"] or time.monotonic() >= last:
                return bool(found["State"]["Running"])
            await anyio.sleep(0.1)

    async def lacked_memory(self) -> bool:
        """Whether something in it was killed because all of it takes no more than `MEMORY`.

        Raises:
            SandboxError: the engine is gone, or the container ended.
        """
        kept = bytearray()  # the engine itself tells it of the first process alone
        await self.run(["cat", *_MEMORY_EVENTS], kept.extend)
        return any(line.startswith(b"oom_kill ") and line.split()[1:] != [b"0"] for line in kept.splitlines())

    async def output(self, command: str | Sequence[str], *, workdir: str | None = None) -> tuple[int, bytes]:
        """The exit code and all that a short command writes.

        Raises:
            SandboxError: it does not end, or the engine is gone.
        """
        kept = bytearray()
        ended = await self.run(command, kept.extend, workdir=workdir)
        if ended.code is None:
            raise SandboxError(f"a command in container {self.id} did not end")
        return ended.code, bytes(kept)

    async def put(self, path: str, content: bytes) -> None:
        """Write a file in a folder that is there. Raises: SandboxError where the engine cannot."""
        place = PurePosixPath(path)
        archive = _one_file(place.name, content)
        api = self._engine.client.api
        await self._engine.call(partial(api.put_archive, self.id, str(place.parent), archive), command=True)

    async def fetch(self, path: str, target: Path) -> None:
        """Copy what is in a folder into a new folder of the host; whatever the image holds, nothing is written
        elsewhere.

        Raises:
            SandboxError: it is not there, or cannot be written.
        """
        await self._engine.call(partial(_fetch, self._engine.client, self.id, path, target), command=True)

    async def commit(self, name: str, changes: Sequence[str]) -> None:
        """Make an image of it as it is now; `changes` are lines of a Dockerfile. `name` has a tag."""
        repository, _, tag = name.rpartition(":")
        api = self._engine.client.api
        await self._engine.call(partial(api.commit, self.id, repository, tag, changes=list(changes)))


@asynccontextmanager
async def open_container(engine: Engine, lease: Path, wanted: Wanted) -> AsyncIterator[Container]:
    """A container for the length of the block.

    Raises:
        SandboxError: the image cannot be had, or no container can be made of it.
    """
    name = f"swarm-{secrets.token_hex(8)}"
    image = await engine.call(partial(ensure_named, engine.client, wanted.image), abandon=True)
    note_engine(lease, engine.address)
    try:
        await engine.call(partial(_start, engine.client, name, image, wanted, lease))
        yield Container(engine, name)
    finally:
        with anyio.move_on_after(_REMOVAL_S, shield=True):
            await engine.call(partial(_remove, engine.client, name), abandon=True)


async def digest_of(engine: Engine, image: str) -> str:
    """What tells an image from all others: its digest in the registry, else the hash of its content.

    Raises:
        SandboxError: it cannot be had.
    """
    name = await engine.call(partial(ensure_named, engine.client, image), abandon=True)
    found = await engine.call(lambda: engine.client.images.get(name))
    named = found.attrs.get("RepoDigests") or ()
    return str(named[0] if named else found.id)


def _start(client: DockerClient, name: str, image: str, wanted: Wanted, lease: Path) -> None:
    from docker.types import Mount

    more: dict[str, Any] = {} if wanted.network is None else {"network_mode": wanted.network}
    client.containers.create(
        image,
        name=name,
        entrypoint=["tail"],
        command=["-f", "/dev/null"],
        user=USER,
        environment=dict(wanted.env),
        mounts=[Mount(place, str(path), type="bind", read_only=True) for place, path in wanted.shown.items()],
        security_opt=["no-new-privileges"],
        mem_limit=MEMORY,
        memswap_limit=MEMORY,
        pids_limit=PIDS,
        labels={LABEL: str(lease)},
        **more,
    ).start()


def _run(api: APIClient, make: Callable[[], dict[str, Any]], told: Chunk) -> tuple[int | None, bool]:
    """The exit code, and whether not all that was written was told."""
    from docker.utils.socket import frames_iter

    made = make()["Id"]
    length = 0
    # As a socket: what docker-py streams from, nobody closes.
    stream: Any = api.exec_start(made, socket=True)
    try:
        for _, chunk in frames_iter(stream, tty=False):  # type: ignore[no-untyped-call]  # docker gives it no types
            if length < _MOST:
                told(chunk[: _MOST - length])
            length += len(chunk)
    finally:
        stream._response.close()
    code = api.exec_inspect(made)["ExitCode"]
    return None if code is None else int(code), length > _MOST


def _remove(client: DockerClient, name: str) -> None:
    import docker.errors

    try:
        client.api.remove_container(name, force=True, v=True)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if error.status_code != 409:  # it is being removed already
            raise


def _one_file(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o644
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _fetch(client: DockerClient, name: str, path: str, target: Path) -> None:
    import docker.errors

    try:
        chunks, _ = client.api.get_archive(name, path)
    except docker.errors.NotFound:
        raise SandboxError(f"there is no {path} in the image") from None
    target.mkdir()
    try:
        with tarfile.open(fileobj=_Reader(chunks), mode="r|") as archive:
            extract(archive, os.path.realpath(target))
        for _ in chunks:  # to the end: only then is the connection free again
            pass
    except (tarfile.TarError, OSError) as error:
        raise SandboxError(f"{path} cannot be taken out of the image: {error}") from error


def extract(archive: tarfile.TarFile, target: str) -> None:
    """Files, folders and links below the folder that was asked for, without its own name. Python 3.11 has filters of
    its own from 3.11.4 on only, so that they are not used.

    Raises:
        tarfile.TarError: something would be written outside of the target.
    """
    archive.extraction_filter = lambda entry, path: entry  # what is let through is decided here
    for entry in archive:
        _, _, entry.name = entry.name.partition("/")
        places = [entry.name]
        if entry.islnk():
            _, _, entry.linkname = entry.linkname.partition("/")
            places.append(entry.linkname)
        if not entry.name or not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
            continue
        for place in places:
            path = Path(target, place)
            real = os.path.realpath(path.parent if entry.issym() else path)
            if path.name == ".." or os.path.commonpath([target, real]) != target:
                raise tarfile.TarError(f"{place!r} leads out of it")
        entry.mode = (entry.mode & 0o755) | (0o700 if entry.isdir() else 0o600)
        entry.uid = entry.gid = -1
        entry.uname = entry.gname = ""
        archive.extract(entry, target)


class _Reader(io.RawIOBase):
    """What the engine sends, as a file. Only what tarfile asks of a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, length = [self._rest], len(self._rest)
        while size < 0 or length < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            parts.append(chunk)
            length += len(chunk)
        whole = b"".join(parts)
        cut = len(whole) if size < 0 else size
        self._rest = whole[cut:]
        return whole[:cut]
