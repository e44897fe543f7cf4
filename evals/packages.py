"""Real packages to work on: a pinned source distribution, fetched by pip, checked, unpacked, made a git repository."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from swarm.errors import MachineError


@dataclass(frozen=True, slots=True)
class Package:
    """A source distribution that brings its own tests. `sources` is the folder of its code, `sha256` of the archive."""

    name: str
    version: str
    sha256: str
    sources: str
    test: str


BOLTONS = Package(
    name="boltons",
    version="26.2.0",
    sha256="d39cfd15c1a1c3bd4d705c82252fa9edb8e4f5e8cc039f8e39afac7b1b47e92c",
    sources="boltons",
    test="python -m pytest -q --tb=short -p no:cacheprovider",
)
"""Pure Python without dependencies: 17,000 lines in 30 files, more than 500 tests in a few seconds."""

SQLPARSE = Package(
    name="sqlparse",
    version="0.6.1",
    sha256="ca722573f848ff2d30e40ea30f53a104b7dea7635ea9285891263eb2c58fb6e7",
    sources="sqlparse",
    test=BOLTONS.test,
)
"""A parser without dependencies: 9,000 lines, more than 500 tests; a fault in its lexer shows everywhere."""

TOOLZ = Package(
    name="toolz",
    version="1.2.0",
    sha256="9667a038e9d6ecba37995e26cb2f59ec6420b6ad8dd9677de59db9b956b08490",
    sources="toolz",
    test=BOLTONS.test,
)
"""Small functions that use each other: 7,000 lines, 200 tests, which stand in the package's own folder."""

_IGNORED = "__pycache__/\n*.pyc\n.pytest_cache/\n"


def fetch(package: Package, cache: Path) -> Path:
    """The archive of a package, from `cache` or from the registry that pip is set up for.

    Raises:
        MachineError: pip cannot get it, or it is not what was pinned.
    """
    archive = cache / f"{package.name}-{package.version}.tar.gz"
    if archive.is_file() and _sha256(archive) == package.sha256:
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temp:
        wanted = Path(temp) / "wanted.txt"
        wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="ascii")
        # pip asks the build back-end for metadata, also when it only downloads: what is installed, else its own.
        for own in (["--no-build-isolation"], []):
            command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-input"]
            command += ["--no-deps", *own, "--no-binary", package.name, "--require-hashes"]
            done = subprocess.run(
                [*command, "-r", str(wanted), "-d", temp], capture_output=True, text=True, errors="replace", timeout=300
            )
            if done.returncode == 0:
                break
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"pip ended with exit code {done.returncode}"]
            raise MachineError(
                f"cannot fetch {package.name} {package.version}: {lines[-1].strip()}",
                remedy="check the network and pip's configuration",
            )
        found = next(Path(temp).glob("*.tar.gz"), None)
        if found is None or _sha256(found) != package.sha256:
            raise MachineError(f"{package.name} {package.version} is not the archive that was pinned")
        found.replace(archive)
    return archive


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of a source distribution into the new `folder`, without its leading folder.

    Only plain files are written, and only below `folder`; owners, links and special bits are left out.

    Raises:
        MachineError: the archive holds a name that points elsewhere.
    """
    folder.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts[1:]
            if not member.isfile() or not parts:
                continue
            if member.name.startswith("/") or ".." in parts or ".git" in parts:
                raise MachineError(f"{archive.name} holds {member.name!r}, which does not belong into it")
            data = tar.extractfile(member)
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            if data is not None:
                with data, target.open("xb") as file:
                    shutil.copyfileobj(data, file)
                target.chmod(0o755 if member.mode & 0o100 else 0o644)


def make_repository(folder: Path, message: str) -> None:
    """Make `folder` a git repository with all of it in one commit, whatever the user's own git is set up for.

    Raises:
        MachineError: git is missing or refuses.
    """
    ignored = folder / ".gitignore"
    if not ignored.exists():
        ignored.write_text(_IGNORED, encoding="ascii")
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _IDENTITY.items()}
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **who,
    }
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "--no-verify", "-m", message]):
        try:
            subprocess.run(
                ["git", *command], cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=60
            )
        except FileNotFoundError:
            raise MachineError("git is not installed", remedy="install git") from None
        except subprocess.CalledProcessError as error:
            raise MachineError(f"git {command[0]} failed in {folder}: {error.stderr.strip()}") from None


_IDENTITY = {"NAME": "swarm", "EMAIL": "swarm@localhost", "DATE": "2026-01-01T00:00:00Z"}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
