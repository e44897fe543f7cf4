"""The user's active Python, found so that a sandbox can show it: a virtual environment, pyenv, conda, uv."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.sandboxes.environments import (
    Environment,
    holds_module,
    own_folders,
    own_python,
    path_without,
    pinned,
    without_private,
)
from swarm.sandboxes.host_root import find_host_root

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

_ASK = "import json, sys; print(json.dumps([sys.prefix, sys.base_prefix, sys.executable]))"
_TIMEOUT = 20.0
_FRESH_S = 10.0

Found = tuple[tuple[Path, ...], tuple[str, ...]]

_asking = threading.Lock()
_known: dict[object, tuple[float, Found]] = {}


async def discover(env: Mapping[str, str]) -> Found:
    """Find the Python that `python3` or `python` means in `env`.

    Gives the paths that a sandbox must show read-only (none where the system's own Python is meant) and the
    entries of PATH to use inside. Without a Python there is nothing to show: that is no error.
    """
    found = _fresh(frozenset(env.items()))
    return found if found is not None else await anyio.to_thread.run_sync(_discover, env)


async def of_repository(repo: Path | None) -> Found:
    """What `discover` finds for this process, seen from a repository, whose own environments come first."""
    env = _own_variables()
    if repo is None:
        return await discover(env)
    own = await anyio.to_thread.run_sync(own_folders, repo)
    path = env.get("PATH", "")
    python = await anyio.to_thread.run_sync(own_python, repo, path)
    if python is not None:
        shown, entries = await anyio.to_thread.run_sync(_around, python, env)
    else:
        shown, entries = await discover(env | pinned(repo) | {"PATH": path_without(repo, path)})
    return tuple(dict.fromkeys((*own, *shown))), entries


async def with_module(module: str) -> Found:
    """What `discover` finds for this process where that Python has a module, else the Python of this process: it may
    have been started from an environment that nobody activated."""
    env = _own_variables()
    python = await anyio.to_thread.run_sync(_ask, env)
    if python is None or not holds_module(python, module):
        python = Environment(Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable))
    return await anyio.to_thread.run_sync(_around, python, env)


async def of_program(program: str) -> Found:
    """What a sandbox must show for a program of this machine to run there, and the folder that it lies in; neither
    where it is not found, or is the system's own."""
    return await anyio.to_thread.run_sync(_of_program, program, _own_variables())


def _of_program(program: str, env: Mapping[str, str]) -> Found:
    found = shutil.which(program, path=env.get("PATH", ""))
    host = find_host_root()
    if found is None or not Path(found).is_absolute() or host.shows(Path(found)):
        return (), ()
    link, real = Path(found), Path(found).resolve()
    own = (link if (link.parent.parent / "pyvenv.cfg").is_file() else real).parent  # a venv's Python is a link
    prefix = own.parent if own.name == "bin" else own
    python = _ask({**env, "PATH": str(own)})
    around = _around(python, env)[0] if python is not None else ()
    wanted = [*without_private([prefix], env), link, real]
    shown = [path for path in dict.fromkeys((*wanted, *around)) if path.exists() and not host.shows(path)]
    return _outermost(shown), (str(link.parent),)


def _own_variables() -> dict[str, str]:
    env = {name: os.environ[name] for name in ("PATH", "SWARM_HOME") if name in os.environ}
    return env | {"HOME": os.environ.get("HOME", "/")}


def _discover(env: Mapping[str, str]) -> Found:
    key = frozenset(env.items())
    with _asking:  # many runs that begin at once start one Python, not one each
        found = _fresh(key)
        if found is None:
            python = _ask(env)
            found = _around(python, env) if python is not None else ((), SYSTEM_PATH)
            _known.clear()  # one question is asked again and again, if any
            _known[key] = time.monotonic(), found
        return found


def _fresh(key: object) -> Found | None:
    """What was found a moment ago."""
    asked, found = _known.get(key, (-math.inf, None))
    return found if time.monotonic() - asked < _FRESH_S else None


def _around(python: Environment, env: Mapping[str, str]) -> Found:
    """What to show of a Python, and where its programs are."""
    host = find_host_root()
    wanted: list[Path] = []
    for folder in (python.prefix, python.base):
        wanted += [folder, folder.resolve()]
    wanted = without_private(dict.fromkeys(wanted), env)
    wanted += _links(python.executable, wanted)
    shown = [path for path in dict.fromkeys(wanted) if path.exists() and not host.shows(path)]
    bins = [str(folder / "bin") for folder in dict.fromkeys((python.prefix, python.base))]
    return _outermost(shown), tuple(dict.fromkeys((*bins, *SYSTEM_PATH)))


def _ask(env: Mapping[str, str]) -> Environment | None:
    for name in ("python3", "python"):
        found = shutil.which(name, path=env.get("PATH", ""))
        if found is None or not Path(found).is_absolute():
            continue
        try:
            # -I, and from elsewhere: neither PYTHON* variables nor files of the current folder have a say.
            answer = subprocess.run(
                [found, "-I", "-c", _ASK],
                env=dict(env),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_TIMEOUT,
                check=True,
            ).stdout
            prefix, base, executable = json.loads(answer)
        except (OSError, subprocess.SubprocessError, ValueError):
            continue  # a shim of pyenv without a version behind it, a broken environment
        return Environment(Path(prefix), Path(base), Path(executable))
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
