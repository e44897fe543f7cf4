"""The file of MCP servers: `{"mcpServers": {NAME: {"command", "args", "env"} or {"url", "headers"}}}`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from swarm.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_REMEDY = 'the form is {"mcpServers": {"NAME": {"command": "PROGRAM", "args": []}}}, or "url" in place of a command'


class McpServer(BaseModel):
    """How to reach one server: a program of this machine, or an address. Keys of other programs are let pass.

    `tools` names the tools that agents may use, "*" all of them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Literal["stdio", "http", "streamable-http", "streamableHttp"] | None = None
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    cwd: str | None = None
    url: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    tools: tuple[str, ...] = ("*",)

    @model_validator(mode="after")
    def _one_way(self) -> McpServer:
        if bool(self.command) == bool(self.url):
            raise ValueError("give `command` or `url`, one of them")
        return self

    def allows(self, tool: str) -> bool:
        return "*" in self.tools or tool in self.tools

    def secrets(self) -> tuple[str, ...]:
        """What no message may repeat."""
        return tuple(value for value in (*self.env.values(), *self.headers.values()) if len(value) > 3)


def load_servers(path: Path, env: Mapping[str, str] | None = None) -> dict[str, McpServer]:
    """Read the file. `${NAME}` and `${NAME:-DEFAULT}` in it are replaced from the environment.

    Raises:
        UsageError: it cannot be read, or is not of this form; no value of it is repeated.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", remedy="name a readable file of MCP servers") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {error}", remedy=_REMEDY) from None
    listed = data.get("mcpServers") if isinstance(data, dict) else None
    if not isinstance(listed, dict):
        raise UsageError(f"{path}: there is no object `mcpServers`", remedy=_REMEDY)
    servers = {}
    for name, value in listed.items():
        if not _NAME.fullmatch(name):
            raise UsageError(f"{path}: the server name {name!r} is not allowed", remedy="1 to 32 of a-z A-Z 0-9 _ -")
        try:
            servers[name] = McpServer.model_validate(_expanded(value, os.environ if env is None else env, path))
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(part) for part in ("mcpServers", name, *first["loc"]))
            raise UsageError(f"{path}: {where}: {first['msg']}", remedy=_REMEDY) from None
        except RecursionError:
            raise UsageError(f"{path}: mcpServers.{name} is nested too deeply", remedy=_REMEDY) from None
    return servers


def _expanded(value: Any, env: Mapping[str, str], path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(part, env, path) for key, part in value.items()}
    if isinstance(value, list):
        return [_expanded(part, env, path) for part in value]
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        held = env.get(match[1], match[2])
        if held is None:
            raise UsageError(f"{path}: ${{{match[1]}}} is not set", remedy=f"set {match[1]} in the environment")
        return held

    return _VARIABLE.sub(found, value)
