"""What stands in for a model behind the embedded endpoint: a function of the request, with no memory of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from swarm import __version__


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """All that a policy sees, as a model would: the messages and what the request asks of the answer."""

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    response_format: dict[str, Any] | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyToolCall:
    """`arguments` is the raw string, valid JSON or (to test a client) not."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the answer comes: seconds to the first token, then tokens per second (None: at once)."""

    first_token_s: float = 0.0
    tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class PolicyReply:
    """One assistant turn."""

    content: str = ""
    tool_calls: tuple[PolicyToolCall, ...] = ()
    pace: Pace = Pace()


@runtime_checkable
class Versioned(Protocol):
    """A policy that has versions, as weights have while they are trained."""

    @property
    def version(self) -> str: ...


def version_of(policy: Policy) -> str:
    """The version of a policy: its own word, else that of this package."""
    return policy.version if isinstance(policy, Versioned) else f"{policy.name}-{__version__}"


class Policy(Protocol):
    """A stand-in model. `reply` may take long: the server calls it in a worker thread."""

    @property
    def name(self) -> str: ...

    def reply(self, request: PolicyRequest) -> PolicyReply: ...
