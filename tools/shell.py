"""bash: commands in the sandbox, one after the other or in the background."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from swarm.protocols import Sandbox
from swarm.tools.jobs import MOST_JOBS, JobRunner
from swarm.tools.output import LIMIT, failed, readable, shorten
from swarm.tools.registry import tool
from swarm.tools.session import STORE, script
from swarm.types import ExecResult, ToolErrorKind, ToolResult, ToolStatus

DEFAULT_TIMEOUT = 120.0
MAX_TIMEOUT = 600.0
CAPTURE = 1 << 22
"""Bytes of output that are kept of one command: the first and the last half."""

_LONGEST = 1 << 20
_TITLE = 120


@tool
async def bash(
    command: Annotated[str, Field(description="The command or script to run.")],
    sandbox: Sandbox,
    timeout: Annotated[
        float, Field(gt=0, le=MAX_TIMEOUT, description="Seconds until it is killed. Default 120, at most 600.")
    ] = DEFAULT_TIMEOUT,
    background: Annotated[
        bool, Field(description="Start it, without a time limit, and go on; `job` tells how it fares.")
    ] = False,
) -> ToolResult:
    """Run a bash command in the workspace and get its output (stdout and stderr together) and exit code.
    The working directory and exported variables carry over from call to call, for bash alone. There is no terminal and
    no input. Use `background` for what is to go on running, such as a server.
    """
    if "\0" in command:
        return failed(ToolErrorKind.BAD_ARGUMENTS, "the command holds a NUL character, which no shell takes.")
    if len(command.encode()) > _LONGEST:
        return failed(
            ToolErrorKind.BAD_ARGUMENTS,
            f"the command is longer than {_LONGEST} bytes. Use write to make a file of it first.",
        )
    if background:
        return await _start(command, sandbox)
    return await run_in_session(sandbox, script(keep=True), command.encode(), timeout)


async def run_in_session(sandbox: Sandbox, text: str, stdin: bytes, timeout: float) -> ToolResult:
    """Run a script of `swarm.tools.session`, and show what it said: head and tail, and where the rest is."""
    result = await sandbox.exec(text, timeout=timeout, stdin=stdin, max_output=CAPTURE)
    end = f"[timed out after {timeout:g} s]" if result.timed_out else f"[exit code {result.exit_code}]"
    said = _text(result)
    where, most = "", LIMIT - len(end) - 1
    if len(said) > most:
        stored = await sandbox.exec(STORE, timeout=60, stdin=said.encode("utf-8", "replace"))
        if stored.exit_code == 0:  # a full disk, say, is no reason to lose head and tail
            where = f"all is in {stored.stdout.decode('utf-8', 'replace')}: use read or grep"
    body = shorten(said, most, lost=result.truncated, where=where)
    return ToolResult(
        f"{body}\n{end}" if body else end,
        status=ToolStatus.TIMEOUT if result.timed_out else ToolStatus.COMPLETED,
        exit_code=result.exit_code,
        truncated=result.truncated or body != said,
        error=ToolErrorKind.TIMED_OUT if result.timed_out else ToolErrorKind.NONE,
    )


async def _start(command: str, sandbox: Sandbox) -> ToolResult:
    if not isinstance(sandbox, JobRunner):
        return failed(ToolErrorKind.UNAVAILABLE, "commands cannot run in the background here. Run it without.")
    if sandbox.running() >= MOST_JOBS:
        return failed(ToolErrorKind.DENIED, f"{MOST_JOBS} jobs are running already. End one first: job with kill.")
    title = " ".join(command.split())[:_TITLE]
    number, output = await sandbox.start(command, title)
    return ToolResult(f"[job {number} started; its output goes to {output}; `job` waits for it, shows or kills it]")


def _text(result: ExecResult) -> str:
    if result.truncated:  # the halves do not belong together: no escape or carriage return may reach over the cut
        half = len(result.stdout) // 2
        cut = "\n[... output left out ...]\n"
        text = readable(result.stdout[:half]) + cut + readable(result.stdout[half:])
    else:
        text = readable(result.stdout)
    return (text + readable(result.stderr)).rstrip("\n")
