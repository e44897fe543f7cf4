"""What an agent of the Agent Client Protocol may ask of its client: files and terminals, all of them in its sandbox."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
from acp import schema
from anyio.abc import TaskGroup
from pydantic import BaseModel, ValidationError

from swarm.errors import SandboxError
from swarm.hosting import Talk
from swarm.sandboxes.shell import exports
from swarm.workers.guest import HostingSandbox
from swarm.workers.peer import INVALID_PARAMS, NOT_FOUND, PeerError

M = TypeVar("M", bound=BaseModel)

MOST = 16 << 20
"""Bytes of a file that is read or written."""

TERMINALS = 64
"""Terminals that are kept at a time."""

_OUTPUT = 1 << 20
_NO_FILE = -32002


@dataclass(slots=True)
class _Terminal:
    """A command that was started for it, and the last of what it wrote."""

    limit: int
    output: bytearray = field(default_factory=bytearray)
    truncated: bool = False
    code: int | None = None
    over: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def add(self, chunk: bytes) -> None:
        self.output += chunk
        if (surplus := len(self.output) - self.limit) > 0:
            del self.output[:surplus]
            self.truncated = True

    def status(self) -> dict[str, Any]:
        return {"exitCode": self.code} if self.code is not None else {"signal": "SIGKILL"}


class Premises:
    """The sandbox, as such an agent sees it through us."""

    def __init__(self, sandbox: HostingSandbox) -> None:
        self._sandbox = sandbox
        self._terminals: dict[str, _Terminal] = {}
        self._count = 0
        self._group: TaskGroup | None = None
        self._reading = anyio.Lock()  # one whole file at a time

    def __repr__(self) -> str:
        return f"<Premises in {self._sandbox!r}: {len(self._terminals)} terminals>"

    def open_in(self, group: TaskGroup) -> None:
        """Let commands run as tasks of this group."""
        self._group = group

    async def asked(self, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        """Answer one request.

        Raises:
            PeerError: it cannot be done, or is none that we know.
        """
        try:
            match method:
                case "fs/read_text_file":
                    return await self._read(schema.ReadTextFileRequest.model_validate(params))
                case "fs/write_text_file":
                    return await self._write(schema.WriteTextFileRequest.model_validate(params))
                case "terminal/create":
                    return self._start(schema.CreateTerminalRequest.model_validate(params))
                case "terminal/output" | "terminal/wait_for_exit" | "terminal/kill" | "terminal/release":
                    return await self._of_terminal(method, params)
        except ValidationError as error:
            raise PeerError(INVALID_PARAMS, error.errors(include_url=False)[0]["msg"]) from None
        except FileNotFoundError:
            raise PeerError(_NO_FILE, "there is no such file") from None
        except (OSError, SandboxError) as error:
            raise PeerError(INVALID_PARAMS, str(error)) from None
        raise PeerError(NOT_FOUND, f"{method[:100]}: there is no such method")

    async def _read(self, wanted: schema.ReadTextFileRequest) -> dict[str, Any]:
        async with self._reading:
            text = (await self._sandbox.read_file(wanted.path, most=MOST)).decode(errors="replace")
        if wanted.line is not None or wanted.limit is not None:
            first = max((wanted.line or 1) - 1, 0)
            last = None if wanted.limit is None else first + wanted.limit
            text = "".join(text.splitlines(keepends=True)[first:last])
        return {"content": text}

    async def _write(self, wanted: schema.WriteTextFileRequest) -> dict[str, Any]:
        await self._sandbox.write_file(wanted.path, wanted.content.encode(errors="replace"))
        return {}

    def _start(self, wanted: schema.CreateTerminalRequest) -> dict[str, Any]:
        if len(self._terminals) >= TERMINALS or self._group is None:
            raise PeerError(INVALID_PARAMS, f"{TERMINALS} terminals are open: release some")
        env = exports({each.name: each.value for each in wanted.env or ()})
        words = [wanted.command, *map(shlex.quote, wanted.args or ())]  # the command may be a line for a shell
        self._count += 1
        name = f"terminal-{self._count}"
        asked = wanted.output_byte_limit
        self._terminals[name] = terminal = _Terminal(min(_OUTPUT if asked is None else asked, _OUTPUT))
        self._group.start_soon(self._run, terminal, env + " ".join(words), wanted.cwd)
        return {"terminalId": name}

    async def _run(self, terminal: _Terminal, command: str, cwd: str | None) -> None:
        try:
            with terminal.scope:
                done = await self._sandbox.converse(command, Talk(terminal.add, terminal.add), cwd=cwd)
                terminal.code = done.exit_code
        except SandboxError as error:  # of the sandbox itself its own process tells
            terminal.add(str(error).encode())
        finally:
            terminal.over.set()

    async def _of_terminal(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        name = schema.TerminalOutputRequest.model_validate(params).terminal_id
        terminal = self._terminals.get(name)
        if terminal is None:
            raise PeerError(INVALID_PARAMS, f"there is no terminal {name[:100]!r}")
        if method == "terminal/output":
            told: dict[str, Any] = {"output": terminal.output.decode(errors="replace"), "truncated": terminal.truncated}
            return told | ({"exitStatus": terminal.status()} if terminal.over.is_set() else {})
        if method == "terminal/wait_for_exit":
            await terminal.over.wait()
            return terminal.status()
        terminal.scope.cancel()
        if method == "terminal/release":
            del self._terminals[name]
        return {}
