"""The environment of an instance as swebench's own resources pin it: `environment.yml` of its conda environment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import UsageError

FILE = "environment.yml"
_BELOW = ("", "swebench-og", "resources/swebench-og", "swebench/resources/swebench-og")
_PYTHON_BUILD = re.compile(r"py(\d+|h)[0-9a-z_]*")
"""The build of a conda package that is one of Python's."""

_NOT_PIP = frozenset({"python"})


@dataclass(frozen=True, slots=True)
class Environment:
    """`python`: such as 3.9; `pins`: of the packages in it, as pip takes them."""

    python: str
    pins: tuple[str, ...]


def find_environment(folder: Path, instance: str) -> Environment:
    """The environment of an instance in a folder of resources, or in a clone of SWE-bench's repository.

    Raises:
        UsageError: there is none.
    """
    repo, _, number = instance.rpartition("-")
    for below in _BELOW:
        path = folder / below / repo / number / FILE
        if path.is_file():
            return read_environment(path.read_text(encoding="utf-8"))
    raise UsageError(
        f"there is no {FILE} of {instance} in {folder}",
        remedy="give --environments a clone of SWE-bench's repository, or say which Python with --python",
    )


def read_environment(text: str) -> Environment:
    """Read the form in which conda writes it down.

    Raises:
        UsageError: it names no Python.
    """
    python, pins, inner = "", [], False
    for line in text.splitlines():
        word = line.strip()
        if not word.startswith("- "):
            continue
        indent = len(line) - len(line.lstrip())
        entry = word.removeprefix("- ").strip().strip("'\"")
        if entry == "pip:":
            inner, outer = True, indent
            continue
        if inner and indent > outer:
            pins.append(entry)
            continue
        inner = False
        name, _, rest = entry.partition("=")
        version, _, build = rest.partition("=")
        if name == "python":
            python = ".".join(version.split(".")[:2])
        elif (
            version and name not in _NOT_PIP and (_PYTHON_BUILD.match(build) or name in ("pip", "setuptools", "wheel"))
        ):
            pins.append(f"{name}=={version}")
    if not python:
        raise UsageError("the environment names no Python", remedy="say which with --python X.Y")
    return Environment(python, tuple(pins))
