"""grep and glob: searches that run inside the sandbox, with what every image has; ripgrep where it is present.

Both list the files in the same way: one pipeline of paths, sorted, so that a tree gives the same bytes each time.
Folders that hold no sources (.git, node_modules, ...) are left out unless `path` names them; ripgrep heeds .gitignore.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import Annotated

from pydantic import Field

from swarm.protocols import Sandbox
from swarm.tools.files import missing, operand
from swarm.tools.output import LIMIT, clip, failed, printable
from swarm.tools.registry import tool
from swarm.types import ExecResult, ToolErrorKind, ToolResult, ToolStatus

_SECONDS = 60.0
_MATCHES = 200
_PATHS = 500
_WIDTH = 500
_NOISE = (".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache")
_NO_PATH = 97
_MATCH = re.compile(r":\d+:")


@tool
async def grep(
    pattern: Annotated[str, Field(min_length=1, description="A regular expression; (?i) in front ignores case.")],
    sandbox: Sandbox,
    path: Annotated[str, Field(description="A file or folder. Default: the workspace.")] = ".",
    glob: Annotated[str | None, Field(description="Only files that fit, such as *.py or src/**/*.ts.")] = None,
) -> ToolResult:
    """Search file contents for a regular expression. The answer has lines of path:line:text."""
    fits = "" if glob is None else _regex(path, glob, anywhere="/" not in glob)
    # /dev/null: a program without a file to search would take its input, or the whole folder.
    args = f"-e {_q(pattern)} -- /dev/null"
    finds = (
        f"{{ if command -v rg >/dev/null 2>&1; then xargs -0 rg -j1 -nH --no-heading --color=never --no-config {args}; "
        "elif grep -P x /dev/null 2>/dev/null; [ $? -le 1 ]; then "
        f"xargs -0 grep -nHIsP {args}; else xargs -0 grep -nHIsE {args}; fi; }}"
    )
    # One character more than is shown tells that a line was cut; one line more, that lines were.
    script = _listing(path, fits) + f" | tr '\\n' '\\0' | {finds} | cut -c 1-{_WIDTH + 1} | head -n {_MATCHES + 1}"
    result = await sandbox.exec(script, timeout=_SECONDS)
    lines = [line for line in _lines(result) if _MATCH.search(line)]
    if (refusal := await _refusal(sandbox, path, result, bool(lines))) is not None:
        return refusal
    if not lines:
        return ToolResult("No matches.")
    lines = [line if len(line) <= _WIDTH else line[:_WIDTH] + " [...]" for line in lines]
    return _list(lines, _MATCHES, "matches; narrow the pattern, path or glob")


@tool
async def glob(
    pattern: Annotated[str, Field(min_length=1, description="Such as *.py (one folder) or src/**/*.py (all below).")],
    sandbox: Sandbox,
    path: Annotated[str, Field(description="The folder to search from. Default: the workspace.")] = ".",
) -> ToolResult:
    """Find files by name. The answer has one path a line, sorted."""
    if pattern.startswith("/"):
        path, pattern = "/", pattern.lstrip("/")
    # Folders that are written out need no search: begin below them.
    *folders, name = pattern.split("/")
    while folders and not any(character in folders[0] for character in "*?[{\\"):
        path = posixpath.join(path, folders.pop(0))
    rest = "/".join([*folders, name])
    script = _listing(path, _regex(path, rest, anywhere=False)) + f" | head -n {_PATHS + 1}"
    result = await sandbox.exec(script, timeout=_SECONDS)
    lines = _lines(result)
    if (refusal := await _refusal(sandbox, path, result, bool(lines))) is not None:
        return refusal
    if not lines:
        return ToolResult("No files." + ("" if "**" in pattern else f" For all folders below use **/{pattern}."))
    return _list(lines, _PATHS, "files; narrow the pattern or path")


def _listing(path: str, fits: str) -> str:
    """A script that prints the files at and below `path`, those that the extended regular expression `fits`."""
    root = _root(path)
    noise = [name for name in _NOISE if name not in root.split("/")]
    pruned = " -o ".join(f"-name {_q(name)}" for name in noise)
    globs = " ".join(f"-g {_q('!' + name)}" for name in noise)
    listed = (
        f"[ -e {_q(root)} ] || exit {_NO_PATH}; "
        f"if command -v rg >/dev/null 2>&1; then rg --files --hidden --no-config --no-messages {globs} -- {_q(root)}; "
        f"else find -H {_q(root)} \\( {pruned} \\) -prune -o -type f -print 2>/dev/null; fi | sed 's|^\\./||'"
    )
    return listed + (f" | grep -E -e {_q(fits)}" if fits else "") + " | LC_ALL=C sort"


def _regex(path: str, pattern: str, *, anywhere: bool) -> str:
    """A glob below `path` as an extended regular expression for whole paths, as the listing prints them."""
    root = posixpath.normpath(path)
    base = "" if root == "." else _escaped(root.rstrip("/") + "/")
    return f"^{base}{'(.*/)?' if anywhere else ''}{_translated(pattern)}$"


def _translated(pattern: str) -> str:
    made, at, depth = [], 0, 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if pattern.startswith("**/", at - 1):
            made.append("(.*/)?")
            at += 2
        elif pattern.startswith("**", at - 1):
            made.append(".*")
            at += 1
        elif character == "*":
            made.append("[^/]*")
        elif character == "?":
            made.append("[^/]")
        elif character == "[" and (end := pattern.find("]", at + 2 if pattern[at : at + 1] == "!" else at + 1)) > 0:
            inner = pattern[at:end]
            made.append(f"[^{inner[1:]}]" if inner[0] == "!" else f"[{inner}]")
            at = end + 1
        elif character == "{" and "}" in pattern[at:]:
            made.append("(")
            depth += 1
        elif character == "}" and depth:
            made.append(")")
            depth -= 1
        elif character == "," and depth:
            made.append("|")
        elif character == "\\" and at < len(pattern):
            made.append(_escaped(pattern[at]))
            at += 1
        else:
            made.append(_escaped(character))
    return "".join(made)


def _escaped(text: str) -> str:
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text)


def _root(path: str) -> str:
    return operand(posixpath.normpath(path or "."))


def _q(text: str) -> str:
    return shlex.quote(text)


def _lines(result: ExecResult) -> list[str]:
    text = result.stdout.decode("utf-8", "replace")
    return [printable(line) for line in text.split("\n") if line and "\0" not in line]  # NUL: a binary file


async def _refusal(sandbox: Sandbox, path: str, result: ExecResult, found: bool) -> ToolResult | None:
    if result.exit_code == _NO_PATH:
        return await missing(sandbox, path)
    if found:
        return None
    if result.timed_out:
        return ToolResult(
            f"Error: nothing found in {_SECONDS:g} s. Search a smaller folder.",
            status=ToolStatus.TIMEOUT,
            exit_code=124,
            error=ToolErrorKind.TIMED_OUT,
        )
    told = result.stderr.decode("utf-8", "replace").strip()
    return failed(ToolErrorKind.BAD_ARGUMENTS, clip(told, 400)) if told else None


def _list(lines: list[str], limit: int, what: str) -> ToolResult:
    shown, used = [], 0
    for line in lines[:limit]:
        if used + len(line) + 1 > LIMIT - 120:
            break
        shown.append(line)
        used += len(line) + 1
    more = len(lines) > len(shown)
    if more:
        shown.append(f"[only the first {len(shown)} {what}]")
    return ToolResult("\n".join(shown), truncated=more)
