"""Whether a test command could be run at all: a tree on which it cannot says nothing about the tree."""

from __future__ import annotations

import re

_NO_SUCH_COMMAND = (126, 127)
_NO_MODULE = re.compile(r"^\S*: No module named (?:pytest|tox|nox|django)\b.*$", re.MULTILINE)
_USAGE, _NO_TESTS = 4, 5  # exit codes of pytest; the second also of unittest


def unusable(command: str, exit_code: int, output: str, reason: str = "") -> str:
    """Why a command that was found, not given, tests nothing here, in words; empty where it does. Judged by its exit
    code and output on the tree as it was; `reason` is why it counts as red though it ended well."""
    if exit_code == 0:
        return reason
    if exit_code in _NO_SUCH_COMMAND:
        return _last_line(output) or "there is no such command"
    if said := no_runner(output):
        return said
    if exit_code == _NO_TESTS and ("-m pytest" in command or "-m unittest" in command):
        return "it found no tests"
    if exit_code == _USAGE and "-m pytest" in command:
        return _last_line(output) or "its options are not understood"
    return ""


def no_runner(output: str) -> str:
    """The line with which Python says that it has no such test runner; empty where there is none."""
    said = _NO_MODULE.search(output)
    return said[0].strip() if said else ""


def _last_line(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1].strip() if lines else ""
