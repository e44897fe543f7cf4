"""apply_patch: a unified diff over several files, all of it or nothing."""

from __future__ import annotations

import shlex
from typing import Annotated

import anyio.to_thread
from pydantic import Field

from swarm.protocols import Sandbox
from swarm.tools.files import load, operand, save
from swarm.tools.output import failed
from swarm.tools.patching import FilePatch, PatchProblem, parse_patch, patched
from swarm.tools.registry import tool
from swarm.types import ToolErrorKind, ToolResult
from swarm.values import value

_MOST_FILES = 200


@value(frozen=True, slots=True)
class _Change:
    """A file before and after, None where there is none; `mode` is the new mode, octal, empty for no change."""

    path: str
    before: str | None
    after: str | None
    mode: str = ""


@tool
async def apply_patch(
    patch: Annotated[str, Field(description="A unified diff, as git or `diff -u` write it, of one or more files.")],
    sandbox: Sandbox,
) -> ToolResult:
    """Change, add, remove or rename files by a unified diff: all of it is applied, or nothing. Context lines must be
    exactly as in the file; line numbers may be off.
    """
    try:
        patches = await anyio.to_thread.run_sync(parse_patch, patch)
    except PatchProblem as error:
        return failed(ToolErrorKind.BAD_ARGUMENTS, f"the patch cannot be read: {error}")
    if len(patches) > _MOST_FILES:
        return failed(ToolErrorKind.BAD_ARGUMENTS, f"the patch has {len(patches)} files; the most is {_MOST_FILES}.")
    planned = await _plan(sandbox, patches)
    if isinstance(planned, ToolResult):
        return planned
    for done, change in enumerate(planned):
        refusal = await _carry_out(sandbox, change)
        if refusal is not None:
            for earlier in reversed(planned[:done]):
                await _carry_out(sandbox, _Change(earlier.path, earlier.after, earlier.before))
            return failed(refusal.error, f"nothing was changed: {refusal.content.removeprefix('Error: ')}")
    return ToolResult("\n".join(_told(each) for each in patches))


async def _plan(sandbox: Sandbox, patches: list[FilePatch]) -> list[_Change] | ToolResult:
    """Every change, worked out before the first one is made; or why one is not possible."""
    texts: dict[str, str | None] = {}  # what the parts so far make of each file
    before: dict[str, str | None] = {}
    modes: dict[str, str] = {}
    for patch in patches:
        for path in {patch.old, patch.new} - {None}:
            assert path is not None
            if path in texts:
                continue
            found = await load(sandbox, path)
            if isinstance(found, ToolResult) and (found.error is not ToolErrorKind.NOT_FOUND or path == patch.old):
                return failed(found.error, f"nothing was changed: {found.content.removeprefix('Error: ')}")
            texts[path] = before[path] = None if isinstance(found, ToolResult) else found
        if patch.new is not None and patch.new != patch.old and texts[patch.new] is not None:
            message = f"nothing was changed: {patch.new} exists already; patch it as it is, or remove it first."
            return failed(ToolErrorKind.NO_MATCH, message)
        text = texts[patch.old] if patch.old is not None else ""
        if text is None:
            return failed(ToolErrorKind.NO_MATCH, f"nothing was changed: {patch.old} is removed earlier in the patch.")
        try:
            made = await anyio.to_thread.run_sync(patched, text, patch)
            if patch.new is None and made:
                raise PatchProblem(
                    f"{patch.old} is to be removed, but the patch leaves {made.count(chr(10))} lines of it."
                )
        except PatchProblem as error:
            return failed(ToolErrorKind.NO_MATCH, f"nothing was changed: {error}")
        if patch.old is not None:
            texts[patch.old] = None
        if patch.new is not None:
            texts[patch.new] = made
            modes[patch.new] = patch.mode
    # Files that go come last, so that what is lost first is nothing.
    changes = [_Change(path, before[path], after, modes.get(path, "")) for path, after in texts.items()]
    return sorted((each for each in changes if each.before != each.after or each.mode), key=lambda c: c.after is None)


async def _carry_out(sandbox: Sandbox, change: _Change) -> ToolResult | None:
    if change.after is None:
        return await _command(sandbox, f"rm -f -- {shlex.quote(operand(change.path))}", change.path)
    if change.before != change.after:
        refusal = await save(sandbox, change.path, change.after.encode())
        if refusal is not None:
            return refusal
    if change.mode:
        return await _command(sandbox, f"chmod {change.mode} -- {shlex.quote(operand(change.path))}", change.path)
    return None


async def _command(sandbox: Sandbox, command: str, path: str) -> ToolResult | None:
    done = await sandbox.exec(command, timeout=30)
    if done.exit_code == 0:
        return None
    return failed(ToolErrorKind.DENIED, f"{path}: {done.stderr.decode('utf-8', 'replace').strip()}")


def _told(patch: FilePatch) -> str:
    if patch.old is None:
        return f"Added {patch.new}."
    if patch.new is None:
        return f"Removed {patch.old}."
    hunks = f"{len(patch.hunks)} hunk{'' if len(patch.hunks) == 1 else 's'}"
    return (
        f"Changed {patch.old}: {hunks}." if patch.new == patch.old else f"Renamed {patch.old} to {patch.new}: {hunks}."
    )
