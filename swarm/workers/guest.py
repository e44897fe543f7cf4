"""What it takes to start somebody else's agent in a sandbox, whichever way it is spoken to."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from swarm.agents.agent import LoopEnd
from swarm.foreign import USUAL, Named
from swarm.hosting import Hosting
from swarm.protocols import Sandbox
from swarm.sandboxes.shell import exports
from swarm.workers.telling import Telling


class HostingSandbox(Sandbox, Hosting, Protocol):
    """A sandbox that can host such an agent."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One attempt of such an agent: `briefing` is all that it is told, `known` what stands for the holes of its
    command and its variables; programs that are not in the sandbox's own PATH are looked for in `path` as well."""

    named: Named
    briefing: str
    known: Mapping[str, str]
    sandbox: HostingSandbox
    telling: Telling
    path: str = ""

    def script(self, more: Mapping[str, str] | None = None) -> str:
        """Shell text that starts it. `more`: what stands for further holes of the command.

        Raises:
            SandboxError: a variable cannot be set.
        """
        agent = self.named.agent
        env = {name: self._filled(value) for name, value in {**USUAL, **agent.env}.items()}
        path = f'PATH="$PATH":{shlex.quote(self.path)}; ' if self.path else ""
        line = self._filled(agent.line)
        for hole, value in (more or {}).items():
            line = line.replace(hole, value)
        return f"{exports(env)}{path}{line}"

    def _filled(self, text: str) -> str:
        for hole, value in self.known.items():
            text = text.replace(hole, value)
        return text


class Guest(Protocol):
    """Such an agent at work."""

    async def run(self) -> LoopEnd:
        """Let it do its work, to its end; cancelled, all of it is killed.

        Raises:
            SandboxError: the sandbox is gone.
        """
        ...

    async def stop(self) -> None:
        """Ask it to come to an end."""
        ...
