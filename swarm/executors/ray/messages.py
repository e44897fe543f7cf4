"""What a run and its outposts tell each other. An event of the journal travels as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm.config import Price, RunConfig
from swarm.errors import EndpointError, EndpointFault, JournalError, MachineError, RateLimits, SandboxError, SwarmError
from swarm.executors.ray.wire import Door
from swarm.journal.past import Past
from swarm.protocols import Tool
from swarm.types import AgentResult, BoardAction, JsonObject
from swarm.values import value

# ── at the beginning ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Supplies:
    """What a run's attempts are made with on another machine. `config` holds no key; `endpoints` are where the model is
    served, with their keys (None: by an endpoint of ours that is started there). `store` is the run's store as it
    travels, None without a repository; `repo` where that stands on the user's machine, `workdir` where it does in
    sandboxes. `compact` asks for summaries, `board`: whether siblings share one; `tools` are the user's own."""

    version: str
    run_id: str
    config: RunConfig
    model: str
    endpoints: tuple[Any, ...] | None
    price: Price | None
    repo: str | None
    store: Any
    compact: str
    board: bool
    tools: tuple[Tool, ...]
    workdir: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """An outpost is ready. `boot` names the machine's uptime, `mono` is its clock; `sandbox` is the kind that is used
    there, `slots` the agents that it has room for; `notices` are for the user. `door` is where it can be reached
    beside Ray, None where it cannot."""

    boot: str
    mono: float
    sandbox: str
    slots: int
    notices: tuple[str, ...] = ()
    door: Door | None = None


# ── to an outpost ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Work:
    """Make an attempt: an `AgentSpec` but for its steering. `lease` is what it may use at first, `texts` what it was
    told before it began."""

    spec: Mapping[str, Any]
    parent: str
    lease: Any
    past: Past | None = None
    texts: tuple[str, ...] = ()
    held: bool = False
    capture: bool = False
    learns: bool = False


@dataclass(frozen=True, slots=True)
class Steered:
    """An attempt is told something (`text`), is to stand still or to go on (`held`), or is not wanted any more
    (`cancelled`)."""

    trajectory_id: str
    text: str | None = None
    held: bool | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """So many attempts are to come, most of them on a commit; see `swarm.protocols.Executor.expect`."""

    count: int
    commit: str | None


@value(frozen=True, slots=True)
class Taken:
    """So many of the outpost's messages were taken: its events are with the kernel. `synced`: on disk."""

    count: int
    synced: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked for; `refused` is why it was not done."""

    number: int
    value: Any = None
    refused: str = ""


# ── both ways ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Commits:
    """A pack with commits that are named from now on."""

    pack: bytes


Word = tuple[str, Any]
"""Something about the budget of an attempt, or the admission to an endpoint: by which channel, and what."""


# ── from an outpost ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Flush:
    """Whoever asks waits until all before this is on disk."""


@dataclass(frozen=True, slots=True)
class ArtifactKept:
    """A text that an agent keeps on its node, for the run's artifacts."""

    handle: str
    text: str


@dataclass(frozen=True, slots=True)
class ArtifactWanted:
    """Asks for the text of an artifact; None where there is none."""

    number: int
    handle: str


@dataclass(frozen=True, slots=True)
class BoardUsed:
    """Asks for what becomes of a use of the board."""

    number: int
    trajectory_id: str
    action: BoardAction
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Clocks:
    """The seconds of work of attempts, and whether they are at work, as far as that changed."""

    seconds: Mapping[str, tuple[float, bool]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure of the machine as it travels."""

    kind: str
    message: str
    remedy: str = ""
    more: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt is over: with its result, by a fault, or cancelled (neither)."""

    trajectory_id: str
    result: AgentResult | None = None
    fault: Fault | None = None


_KINDS: dict[str, type[MachineError]] = {each.__name__: each for each in (MachineError, SandboxError, JournalError)}


def fault_from(error: BaseException) -> Fault:
    """How a failure travels."""
    if isinstance(error, EndpointError):
        more = {
            "kind": error.kind.value,
            "retry_after": error.retry_after,
            "status": error.status,
            "limits": error.limits,
            "completion_tokens": error.completion_tokens,
            "elsewhere": error.elsewhere,
        }
        return Fault("EndpointError", error.message, error.remedy, more)
    if isinstance(error, SwarmError):
        return Fault(type(error).__name__, error.message, error.remedy)
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return Fault("MachineError", f"{type(error).__name__}: {error}")


def error_of(fault: Fault) -> MachineError:
    """The failure that travelled."""
    if fault.kind == "EndpointError" and fault.more is not None:
        more = dict(fault.more)
        kind, elsewhere = EndpointFault(more.pop("kind")), bool(more.pop("elsewhere"))
        limits: RateLimits | None = more.pop("limits")
        error = EndpointError(kind, fault.message, remedy=fault.remedy, limits=limits, **more)
        error.elsewhere = elsewhere
        return error
    return _KINDS.get(fault.kind, MachineError)(fault.message, remedy=fault.remedy)
