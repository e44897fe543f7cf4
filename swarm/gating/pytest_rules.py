"""Which files pytest takes for tests, as a project's settings say."""

from __future__ import annotations

import configparser
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from swarm.toml_file import bounded

SETTINGS = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""Where they may stand, the first that holds any counts."""

_LONGEST_LINE = 1_000
_LONGEST_VALUE = 20_000
_SKIPPED = ("*.egg", ".*", "_darcs", "build", "CVS", "dist", "node_modules", "venv", "{arch}")
_OWN_WAYS = ("--ignore", "--ignore-glob", "--doctest-modules", "--doctest-glob", "--pyargs", "--deselect", "-c")


@dataclass(frozen=True, slots=True)
class Rules:
    """The names of test files, and the folders or files in which tests are looked for where none are given; none:
    everywhere. `doubt` says why it is not known what is run."""

    patterns: tuple[str, ...] = ("test_*.py", "*_test.py")
    paths: tuple[str, ...] = ()
    doubt: str = ""

    def runs(self, name: str, given: tuple[str, ...] = ()) -> bool:
        """Whether a file is run where these paths are `given`; all as pytest's own folder has them."""
        inside = tuple(path.removeprefix("./").rstrip("/") for path in given or self.paths)
        *folders, own = name.split("/")
        if name in inside:
            return True
        if any(fnmatch(folder, each) for folder in folders for each in _SKIPPED):
            return False
        below = not inside or any(path in ("", ".") or name.startswith(f"{path}/") for path in inside)
        return below and any(fnmatch(own, pattern) for pattern in self.patterns)


def rules(name: str, text: str) -> Rules | None:
    """The rules in a file of settings, None where it holds none."""
    try:
        found = _settings(name.rpartition("/")[2], text)
    except (ValueError, configparser.Error) as error:
        return Rules(doubt=f"{name} cannot be read: {type(error).__name__}")
    if found is None:
        return None
    if "norecursedirs" in found:
        return Rules(doubt=f"{name} says where tests are not looked for")
    words: dict[str, list[str]] = {}
    for key in ("addopts", "testpaths", "python_files"):
        try:
            words[key] = _words(found.get(key, ()))
        except (ValueError, TypeError):
            return Rules(doubt=f"the {key} of {name} cannot be read")
    options = [word.partition("=")[0] for word in words["addopts"]]
    if odd := next((word for word in options if word in _OWN_WAYS), ""):
        return Rules(doubt=f"{name} has {odd} in addopts")
    paths = tuple(words["testpaths"])
    if any(set(path) & set("*?[") or ".." in path for path in paths):
        return Rules(doubt=f"the testpaths of {name} are patterns")
    return Rules(tuple(words["python_files"]) or Rules().patterns, paths)


def _settings(name: str, text: str) -> Mapping[str, Any] | None:
    if name == "pyproject.toml":
        tool = bounded(text).get("tool", {})
        table = tool.get("pytest", {}) if isinstance(tool, dict) else {}
        found = table.get("ini_options") if isinstance(table, dict) else None
        return found if isinstance(found, dict) else None
    if any(len(line) > _LONGEST_LINE for line in text.splitlines()):
        raise ValueError("a line is too long: its time would grow with the square")
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(text)
    section = "tool:pytest" if name == "setup.cfg" else "pytest"
    if parser.has_section(section):
        return dict(parser.items(section))
    return {} if name.endswith("pytest.ini") else None


def _words(value: Any) -> list[str]:
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        raise ValueError("it is too long: its time would grow with the square")
    return shlex.split(value, comments=True) if isinstance(value, str) else [str(each) for each in value]
