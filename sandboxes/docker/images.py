"""Images for containers: by name, built here, or `host`: mount points for this machine's own system folders only."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from swarm.errors import SandboxError, UsageError
from swarm.sandboxes.docker.engine import BUBBLEWRAP, engine_error
from swarm.sandboxes.host_root import HostRoot, made_files

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

LABEL_KIND = "swarm.image"
"""The label of all images that are ours; its value is BUILT or `host`."""

BUILT = "built"
REPOSITORY = "swarm-host"
_FOLDERS = ("dev", "etc", "proc", "sys", "tmp", "run", "var")


def ensure_named(client: DockerClient, name: str) -> str:
    """See that an image is there, pulling it where it is not; gives the name to run.

    Raises:
        SandboxError: it is neither here nor can it be pulled.
    """
    import docker.errors

    try:
        client.images.get(name)
        return name
    except docker.errors.ImageNotFound:
        pass
    except docker.errors.DockerException as error:
        raise engine_error(error) from error
    try:
        # Without a tag docker-py pulls them all.
        client.images.pull(name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest")
    except docker.errors.DockerException as error:
        reason = str(getattr(error, "explanation", None) or error)
        raise SandboxError(
            f"image {name} is not on this machine and cannot be pulled: {reason}",
            remedy="check the name, load it with `docker load`, or choose --image host",
        ) from error
    return name


def ensure_host(client: DockerClient, host: HostRoot, uid: int, gid: int) -> str:
    """See that the image of mount points for `host` is there; gives its name, a hash of its content in it.

    Raises:
        SandboxError: the engine does not take it.
    """
    import docker.errors

    content = _archive(host, uid, gid)
    tag = hashlib.sha256(content).hexdigest()[:16]
    name = f"{REPOSITORY}:{tag}"
    try:
        try:
            client.images.get(name)
        except docker.errors.ImageNotFound:
            client.api.import_image_from_data(
                content, repository=REPOSITORY, tag=tag, changes=[f"LABEL {LABEL_KIND}=host"]
            )
            client.images.get(name)
    except docker.errors.DockerException as error:
        raise engine_error(error, BUBBLEWRAP) from error
    return name


def built_images(client: DockerClient) -> list[Image]:
    """The images that `import_image` made, newest first."""
    found = client.images.list(filters={"label": f"{LABEL_KIND}={BUILT}"})
    return sorted(found, key=lambda image: str(image.attrs.get("Created", "")), reverse=True)


def import_image(client: DockerClient, name: str, archive: Iterable[bytes], labels: Mapping[str, str]) -> None:
    """Make an image of a tar archive that is read as it comes. `name` has a tag.

    Raises:
        SandboxError: the engine does not take it.
    """
    repository, _, tag = name.rpartition(":")
    changes = [f"LABEL {key}={_quoted(value)}" for key, value in labels.items()]
    changes.append('CMD ["/bin/sh"]')
    said = client.api.import_image_from_stream(archive, repository=repository, tag=tag, changes=changes)
    errors = [line for line in said.splitlines() if '"error"' in line]
    if errors or not labels.items() <= client.images.get(name).labels.items():
        raise SandboxError(f"the Docker Engine does not take the image: {' '.join(errors) or 'it is not there'}")


def _quoted(value: str) -> str:
    """As a word of a Dockerfile in which no variable is meant."""
    return json.dumps(value, ensure_ascii=False).replace("$", "\\$")


def remove_built(client: DockerClient, name: str) -> None:
    """Remove an image that was built here.

    Raises:
        UsageError: there is no such image, it was not built here, or a container uses it.
    """
    import docker.errors

    remedy = "see `swarm image list`"
    try:
        image = client.images.get(name)
    except docker.errors.ImageNotFound:
        raise UsageError(f"there is no image {name}", remedy=remedy) from None
    if image.labels.get(LABEL_KIND) != BUILT:
        raise UsageError(f"image {name} was not built by swarm, and is left alone", remedy=remedy)
    try:
        client.images.remove(name)
    except docker.errors.APIError as error:
        if error.status_code != 409:
            raise
        raise UsageError(f"image {name} is in use", remedy="wait for the runs that use it") from error


def _archive(host: HostRoot, uid: int, gid: int) -> bytes:
    buffer = io.BytesIO()
    made: set[str] = set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, kind: bytes, *, content: bytes = b"", link: str = "") -> None:
            parent = name.rpartition("/")[0]
            if parent and parent not in made:
                add(parent, tarfile.DIRTYPE)
            if name in made:
                return
            made.add(name)
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.mode = (0o1777 if name == "tmp" else 0o755) if kind == tarfile.DIRTYPE else 0o644
            entry.linkname = link
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

        for folder in _FOLDERS:
            add(folder, tarfile.DIRTYPE)
        for path in host.binds:
            add(str(path).lstrip("/"), tarfile.DIRTYPE if path.is_dir() else tarfile.REGTYPE)
        for link, target in host.links.items():
            add(link.lstrip("/"), tarfile.SYMTYPE, link=target)
        for file, text in made_files(uid, gid).items():
            add(file.lstrip("/"), tarfile.REGTYPE, content=text)
    return buffer.getvalue()
