"""read, write and edit: the files of the sandbox."""

from __future__ import annotations

import difflib
import errno
import posixpath
import shlex
from typing import Annotated

import anyio.to_thread
from pydantic import Field

from swarm.errors import MachineError
from swarm.protocols import Sandbox
from swarm.tools.output import failed, numbered, printable
from swarm.tools.registry import tool
from swarm.tools.replacement import NoReplacement, replace_once
from swarm.types import ToolErrorKind, ToolResult

_LARGEST = 10 << 20
_NAMES = 50
_WIDEST = 2_000

FilePath = Annotated[str, Field(description="The file, absolute or relative to the workspace.")]


@tool
async def read(
    path: FilePath,
    sandbox: Sandbox,
    offset: Annotated[int, Field(ge=1, description="First line, from 1. Default 1.")] = 1,
    limit: Annotated[int | None, Field(ge=1, description="How many lines. Default: as many as fit.")] = None,
) -> ToolResult:
    """Read a text file. Each line comes with its number and a tab before it, which are not part of the file."""
    text = await load(sandbox, path)
    if isinstance(text, ToolResult):
        return text
    lines = text.removeprefix("\ufeff").split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        return ToolResult("[the file is empty]")
    if offset > len(lines):
        return failed(ToolErrorKind.BAD_ARGUMENTS, f"offset {offset} is past the end: {path} has {len(lines)} lines.")
    last = len(lines) if limit is None else min(len(lines), offset - 1 + limit)
    return numbered(lines, offset, last, _shown)


@tool
async def write(
    path: FilePath,
    content: Annotated[str, Field(description="The whole new content.")],
    sandbox: Sandbox,
) -> ToolResult:
    """Write a whole file, new or over an old one. Missing folders are made."""
    data = content.encode()
    if (refusal := await save(sandbox, path, data)) is not None:
        return refusal
    count = content.count("\n") + (0 if content.endswith("\n") or not content else 1)
    return ToolResult(f"Wrote {path}: {count} lines, {len(data)} bytes.")


@tool
async def edit(
    path: FilePath,
    old_string: Annotated[str, Field(description="The exact text to replace. It must be there exactly once.")],
    new_string: Annotated[str, Field(description="What stands there instead.")],
    sandbox: Sandbox,
) -> ToolResult:
    """Replace one piece of text in a file. Copy it exactly, without line numbers, with enough lines to be unique."""
    text = await load(sandbox, path)
    if isinstance(text, ToolResult):
        return text
    try:
        # In a thread: the search for similar lines in a large file takes long enough to hold up other agents.
        changed, line = await anyio.to_thread.run_sync(replace_once, text, old_string, new_string)
    except NoReplacement as error:
        return failed(ToolErrorKind.NO_MATCH, f"{path}: {error}")
    if (refusal := await save(sandbox, path, changed.encode())) is not None:
        return refusal
    return ToolResult(f"Edited {path} at line {line}.")


async def missing(sandbox: Sandbox, path: str) -> ToolResult:
    """The result for a path that is not there, with near names of its folder and the same name elsewhere."""
    folder, name = posixpath.split(path.rstrip("/"))
    script = (
        f"ls -1A {shlex.quote(operand(folder or '.'))} 2>/dev/null; echo; "
        f"find . -name .git -prune -o -name {shlex.quote(_literal(name))} -print 2>/dev/null | head -n 3"
    )
    listed = await sandbox.exec(script, timeout=10, max_output=1 << 18)
    siblings, _, elsewhere = listed.stdout.decode("utf-8", "replace").rpartition("\n\n")
    near = difflib.get_close_matches(name, siblings.split("\n"), n=3, cutoff=0.5)
    found = [posixpath.join(folder, each) for each in near]
    found += [each.removeprefix("./") for each in elsewhere.split("\n") if each and "\n" not in each]
    hint = f" Did you mean {' or '.join(dict.fromkeys(found))}?" if found else " Use glob to find it."
    return failed(ToolErrorKind.NOT_FOUND, f"{path} does not exist.{hint}")


def operand(path: str) -> str:
    """The path so that no program takes it for an option."""
    return f"./{path}" if path.startswith("-") else path


async def load(sandbox: Sandbox, path: str) -> str | ToolResult:
    """The text of a file, byte for byte when encoded again; or what to tell the model."""
    try:
        data = await sandbox.read_file(_checked(path), most=_LARGEST)
    except MachineError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        return await missing(sandbox, path)
    except IsADirectoryError:
        return await _folder(sandbox, path)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return failed(
                ToolErrorKind.UNSUITABLE,
                f"{path} is too large: more than {_LARGEST >> 20} MiB. Use bash: grep, head, tail or sed -n.",
            )
        return _refused(path, error)
    if b"\0" in data[:8192]:
        return failed(
            ToolErrorKind.UNSUITABLE, f"{path} is a binary file of {len(data)} bytes. Use bash: file, strings or xxd."
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return failed(
            ToolErrorKind.UNSUITABLE,
            f"{path} is not UTF-8 (byte 0x{data[error.start]:02x} on line {line}). "
            "Use bash: iconv -f latin1 -t utf-8 to read it, sed to change it.",
        )


async def _folder(sandbox: Sandbox, path: str) -> ToolResult:
    """The result for a folder where a file was wanted: what is in it."""
    try:
        names = await sandbox.list_folder(path)
    except MachineError:
        raise
    except OSError as error:
        return _refused(path, error)
    shown = ", ".join(printable(name) for name in names[:_NAMES]) or "nothing"
    more = f" and {len(names) - _NAMES} more (use glob)" if len(names) > _NAMES else ""
    return failed(ToolErrorKind.UNSUITABLE, f"{path} is a folder. It holds {shown}{more}.")


async def save(sandbox: Sandbox, path: str, data: bytes) -> ToolResult | None:
    """Write a whole file; or what to tell the model."""
    try:
        await sandbox.write_file(_checked(path), data)
    except MachineError:
        raise
    except (OSError, ValueError) as error:
        return _refused(path, error)
    return None


def _checked(path: str) -> str:
    if not path or "\0" in path:
        raise ValueError("a path is not empty and has no NUL character")
    return path


def _refused(path: str, error: Exception) -> ToolResult:
    if isinstance(error, IsADirectoryError):
        return failed(ToolErrorKind.UNSUITABLE, f"{path} is a directory. Use glob to see its files.")
    if isinstance(error, PermissionError):
        return failed(ToolErrorKind.DENIED, f"{path}: permission denied.")
    if isinstance(error, NotADirectoryError):
        return failed(ToolErrorKind.UNSUITABLE, f"{path}: a part of this path is a file, not a folder.")
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return failed(ToolErrorKind.BAD_ARGUMENTS, f"{path!r}: {reason}.")


def _shown(line: str) -> str:
    line = printable(line)
    if len(line) <= _WIDEST:
        return line
    return f"{line[:_WIDEST]}[... {len(line) - _WIDEST} characters left out ...]"


def _literal(name: str) -> str:
    return "".join(f"\\{character}" if character in "*?[\\" else character for character in name)
