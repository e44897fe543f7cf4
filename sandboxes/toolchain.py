"""The user's active Python, found so that a sandbox can show it: a virtual environment, pyenv, conda, uv."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.sandboxes.host_root import find_host_root

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

_OWN = (".venv", "venv", "node_modules")
"""Folders of a repository that hold what it runs with, though git does not keep them."""

_ASK = "import json, sys; print(json.dumps([sys.prefix, sys.base_prefix, sys.executable]))"
_TIMEOUT = 20.0
_FRESH_S = 10.0

Found = tuple[tuple[Path, ...], tuple[str, ...]]

_asking = threading.Lock()
_known: dict[object, tuple[float, Found]] = {}


async def discover(env: Mapping[str, str], cwd: Path | None = None) -> Found:
    """Find the Python that `python3` or `python` means in `env`, seen from `cwd`.

    Gives the paths that a sandbox must show read-only (none where the system's own Python is meant) and the
    entries of PATH to use inside. Without a Python there is nothing to show: that is no error.
    """
    found = _fresh((frozenset(env.items()), cwd))
    return found if found is not None else await anyio.to_thread.run_sync(_discover, env, cwd)


async def of_repository(repo: Path | None) -> Found:
    """What `discover` finds for this process, seen from a repository, whose own environments come first."""
    own = [repo / name for name in _OWN if (repo / name).is_dir()] if repo is not None else []
    path = os.pathsep.join([*(str(folder / "bin") for folder in own), os.environ.get("PATH", "")])
    shown, entries = await discover({"PATH": path, "HOME": os.environ.get("HOME", "/")}, repo)
    return tuple(dict.fromkeys((*own, *shown))), entries


def _discover(env: Mapping[str, str], cwd: Path | None) -> Found:
    key = (frozenset(env.items()), cwd)
    with _asking:  # many runs that begin at once start one Python, not one each
        found = _fresh(key)
        if found is None:
            found = _find(env, cwd)
            _known.clear()  # one question is asked again and again, if any
            _known[key] = time.monotonic(), found
        return found


def _fresh(key: object) -> Found | None:
    """What was found a moment ago."""
    asked, found = _known.get(key, (-math.inf, None))
    return found if time.monotonic() - asked < _FRESH_S else None


def _find(env: Mapping[str, str], cwd: Path | None) -> Found:
    host = find_host_root()
    asked = _ask(env, cwd)
    if asked is None:
        return (), SYSTEM_PATH
    prefix, base, executable = asked
    wanted: list[Path] = []
    for folder in (prefix, base):
        wanted += [folder, folder.resolve()]
    wanted += _links(executable, wanted)
    shown = [path for path in dict.fromkeys(wanted) if path.exists() and not host.shows(path)]
    bins = [str(folder / "bin") for folder in dict.fromkeys((prefix, base))]
    return _outermost(shown), tuple(dict.fromkeys((*bins, *SYSTEM_PATH)))


def _ask(env: Mapping[str, str], cwd: Path | None) -> tuple[Path, Path, Path] | None:
    for name in ("python3", "python"):
        found = shutil.which(name, path=env.get("PATH", ""))
        if found is None:
            continue
        try:
            # -I: neither PYTHON* variables nor files of the current folder have a say.
            answer = subprocess.run(
                [found, "-I", "-c", _ASK],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_TIMEOUT,
                check=True,
            ).stdout
            prefix, base, executable = json.loads(answer)
        except (OSError, subprocess.SubprocessError, ValueError):
            continue  # a shim of pyenv without a version behind it, a broken environment
        return Path(prefix), Path(base), Path(executable)
    return None


def _links(executable: Path, known: list[Path]) -> list[Path]:
    """Links between the environment's `bin/python` and the real file that lie in neither folder."""
    found: list[Path] = []
    for _ in range(40):
        if not any(executable.is_relative_to(folder) for folder in known):
            found.append(executable)
        if not executable.is_symlink():
            break
        executable = Path(executable.parent, executable.readlink())
    return found


def _outermost(paths: list[Path]) -> tuple[Path, ...]:
    """Drop what lies inside another path of the list."""
    return tuple(path for path in paths if not any(path != other and path.is_relative_to(other) for other in paths))
