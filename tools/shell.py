"""bash: one command in a fresh shell of the sandbox."""

from __future__ import annotations

import shlex
from typing import Annotated

from pydantic import Field

from swarm.protocols import Sandbox
from swarm.tools.output import LIMIT, failed, readable, shorten
from swarm.tools.registry import tool
from swarm.types import ExecResult, ToolResult, ToolStatus

DEFAULT_TIMEOUT = 120.0
MAX_TIMEOUT = 600.0
_CAPTURE = 1 << 18
_LONGEST = 100_000  # Linux takes at most 128 KiB in one argument of a program


@tool
async def bash(
    command: Annotated[str, Field(description="The command or script to run.")],
    sandbox: Sandbox,
    timeout: Annotated[
        float, Field(gt=0, le=MAX_TIMEOUT, description="Seconds until it is killed. Default 120, at most 600.")
    ] = DEFAULT_TIMEOUT,
) -> ToolResult:
    """Run a bash command in the workspace and get its output (stdout and stderr together) and exit code.
    Each call is a fresh shell: only files carry over from one to the next. There is no terminal and no input.
    """
    if "\0" in command:
        return failed("the command holds a NUL character, which no shell takes.")
    if len(command.encode()) > _LONGEST:
        return failed(f"the command is longer than {_LONGEST} bytes. Use write to make a file of it first.")
    result = await sandbox.exec(_script(command), timeout=timeout, max_output=_CAPTURE)
    end = f"[timed out after {timeout:g} s]" if result.timed_out else f"[exit code {result.exit_code}]"
    text = _text(result)
    body = shorten(text, LIMIT - len(end) - 1, lost=result.truncated)
    return ToolResult(
        f"{body}\n{end}" if body else end,
        status=ToolStatus.TIMEOUT if result.timed_out else ToolStatus.COMPLETED,
        exit_code=result.exit_code,
        truncated=result.truncated or body != text,
    )


def _script(command: str) -> str:
    """The sandbox's own shell may be any; models write for bash."""
    run = 'if command -v bash >/dev/null 2>&1; then bash -c "$1"; else sh -c "$1"; fi'
    return f"set -- {shlex.quote(command)}; {{ {run}; }} 2>&1"


def _text(result: ExecResult) -> str:
    if result.truncated:  # the halves do not belong together: no escape or carriage return may reach over the cut
        half = len(result.stdout) // 2
        cut = "\n[... output left out ...]\n"
        text = readable(result.stdout[:half]) + cut + readable(result.stdout[half:])
    else:
        text = readable(result.stdout)
    return (text + readable(result.stderr)).rstrip("\n")
