"""The machine's own system folders as a read-only root: what bubblewrap and the docker image `host` show inside.

Only what programs need to run. Never /home, /root, /var, /run, nor any file of /etc that could hold a secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from swarm.values import value

SYSTEM = ("usr", "bin", "sbin", "lib", "lib64", "lib32", "libx32")
"""Folders of the root; on most machines all but the first are links into it."""

ETC = (
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "java*-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "pki/ca-trust",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "protocols",
    "python3*",
    "services",
    "ssl/certs",
    "ssl/cert.pem",
    "ssl/openssl.cnf",
    "timezone",
)
"""What may be seen of /etc, as patterns (one star at most, in a name of /etc itself); what is not there is left out."""

USER = "agent"
"""The name of the user inside."""


@value(frozen=True, slots=True)
class HostRoot:
    """`binds` are seen read-only at their own paths; `links` are symbolic links to be made, path to target."""

    binds: tuple[Path, ...]
    links: Mapping[str, str]

    def shows(self, path: Path) -> bool:
        """Whether a path of the host is visible inside at the same place."""
        parts = path.parts
        if len(parts) > 1 and parts[1] in {Path(link).name for link in self.links}:
            path = path.resolve()
        return any(path.is_relative_to(bind) for bind in self.binds)


def find_host_root(root: Path = Path("/")) -> HostRoot:
    """What of this machine makes up the root of a sandbox."""
    binds: list[Path] = []
    links: dict[str, str] = {}
    for name in SYSTEM:
        path = root / name
        if path.is_symlink():
            links[str(path)] = str(path.readlink())
        elif path.is_dir():
            binds.append(path)
    binds += _matching(root / "etc", ETC)
    return HostRoot(tuple(binds), links)


def _matching(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """What is there of some patterns; only those with a star take a look at the folder. It is done for each sandbox."""
    there: list[str] | None = None
    for pattern in patterns:
        names = [pattern]
        start, star, end = pattern.partition("*")
        if star:
            if there is None:
                there = []
                with suppress(OSError):  # not there, or nothing that we may list
                    there = sorted(os.listdir(folder))  # noqa: PTH208  names are wanted
            names = [name for name in there if name.startswith(start) and name.endswith(end)]
        yield from (folder / name for name in names if os.path.exists(f"{folder}/{name}"))  # noqa: PTH110  as above


def linked(path: Path, shown: Sequence[Path]) -> Path | None:
    """Where a link to a file in one of the folders `shown` leads, to be made a link inside too: a Python finds its own
    files from where it really lies. None for all else, and where one of them brings the link itself."""
    if not path.is_symlink() or not path.is_file() or any(place in path.parents for place in shown):
        return None
    target = Path(os.path.realpath(path))
    return target if any(place in target.parents for place in shown) else None


def made_files(uid: int, gid: int) -> dict[str, bytes]:
    """The files of /etc that are not the machine's: one user, no other host, no name server."""
    return {
        "/etc/passwd": (
            "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
            f"{USER}:x:{uid}:{gid}:{USER}:/tmp/home:/bin/sh\n"
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        ).encode(),
        "/etc/group": f"root:x:0:\n{USER}:x:{gid}:\nnogroup:x:65534:\n".encode(),
        "/etc/hosts": b"127.0.0.1 localhost sandbox\n::1 localhost\n",
        "/etc/resolv.conf": b"",
    }
