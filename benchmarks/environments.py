"""Virtual environments: one for each peer under `.cache/bench`, from a lock file with hashes, made when needed.
`swarm` is one with what swarm itself needs and nothing else, as its users have it.

`python -m benchmarks lock [NAME...]` writes `peers/locks/NAME.txt` from `NAME.in`, as `scripts/lock` does.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

LOCKS = Path(__file__).resolve().parent / "peers/locks"
OURS = "swarm"
_ROOT = Path(__file__).resolve().parents[1]
_UV = "pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-emit-index-url"
_UV += " --no-emit-find-links --no-annotate --custom-compile-command"
_PLACE = re.compile(r"://|^--|^-[a-z]|@ ", re.MULTILINE)


class NotInstalled(Exception):
    """Why an environment cannot be had."""


def names() -> list[str]:
    """The environments that there are lock files for."""
    return sorted([OURS, *(path.stem for path in LOCKS.glob("*.txt"))])


def locked(name: str) -> dict[str, str]:
    """Versions by package."""
    lines = lock_file(name).read_text(encoding="utf-8").splitlines()
    pairs = (re.split(r"==|[ ;\\]+", line, maxsplit=2)[:2] for line in lines if "==" in line.split(" ")[0])
    return {package: version.split(" ")[0] for package, version in pairs}


def asked(name: str) -> dict[str, str]:
    """Versions of what the environment is made for, without what that needs."""
    if name == OURS:
        told = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        wanted: list[str] = told["project"]["dependencies"]
    else:
        wanted = (LOCKS / f"{name}.in").read_text(encoding="utf-8").split()
    versions = locked(name)
    return {package: versions[package] for package in (re.split(r"[\[<>=]", line)[0] for line in wanted)}


def python_of(cache: Path, name: str) -> Path:
    """The interpreter of an environment; raises `NotInstalled` where it has not been made from today's lock file."""
    folder = cache / name
    stamp = folder / "made-from"
    if not stamp.exists() or stamp.read_text() != _stamp(name):
        raise NotInstalled(f"{name} is not installed")
    return folder / "bin/python"


def make(cache: Path, name: str) -> Path:
    """The interpreter of an environment, which is made where it is not there; `NotInstalled` tells why it cannot be."""
    try:
        return python_of(cache, name)
    except NotInstalled:
        pass
    folder = cache / name
    print(f"bench: installing {name} ({len(locked(name))} locked packages)", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    quiet = {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    env = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PIP_TARGET", "PIP_PREFIX"}}
    pip = ["install", "-qq", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    commands = (
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), *pip, "-r", str(lock_file(name))],
    )
    for command in commands:
        done = subprocess.run(command, env=env | quiet, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NotInstalled(f"{name} cannot be installed: {last[-200:]}")
    (folder / "made-from").write_text(_stamp(name))
    return folder / "bin/python"


def lock(chosen: list[str]) -> None:
    """Write the lock files anew, with the newest versions."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        sys.exit("lock: uv is not installed")
    env = {key: value for key, value in os.environ.items() if not key.startswith("UV_")}
    for source in sorted(LOCKS.glob("*.in")):
        if chosen and source.stem not in chosen:
            continue
        made = source.with_suffix(".txt")
        command = [uv, *_UV.split(), "python -m benchmarks lock", "--upgrade", "--output-file", str(made), str(source)]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        if place := _PLACE.search(made.read_text(encoding="utf-8")):
            sys.exit(f"lock: {made} names a place ({place[0]}): it must name packages only")
        print(f"{made.name}: {len(locked(made.stem))} packages")


def lock_file(name: str) -> Path:
    """What an environment is made from."""
    return _ROOT / "requirements/base.txt" if name == OURS else LOCKS / f"{name}.txt"


def _stamp(name: str) -> str:
    text = lock_file(name).read_bytes() + sys.version.encode() + str(LOCKS).encode()
    return hashlib.sha256(text).hexdigest()
