"""Every error that swarm raises on purpose, ordered by who can act on it.

    SwarmError
    ├── UsageError            the caller: a flag, a file, a task, a repository          exit 2
    │   └── RunAtWork         the run is at work already
    ├── PlanError             the orchestrator model: no usable plan                    exit 1
    ├── BudgetExhausted       the bill: a limit of the run was reached                  exit 4
    └── MachineError          the infrastructure, never the model                       exit 3
        ├── EndpointError     the model endpoint; `kind` says which way it failed
        ├── SandboxError      a sandbox could not start, or died
        └── JournalError      the record of the run cannot be written or read

The failure of the *work* (a command that exits 1, a sub-agent that found nothing) is a value, not an error.
A message is one line that names the input; `remedy` is what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final


class SwarmError(Exception):
    """Base of all errors of this package. `details` are further lines, such as a diff, for where there is room."""

    exit_code: ClassVar[int] = 1
    details: str = ""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class UsageError(SwarmError, ValueError):
    """What the caller gave cannot be used: an option, a file, the task or its repository."""

    exit_code = 2


class RunAtWork(UsageError):
    """A run cannot be gone on with, for it is at work already, in this process or another."""


class PlanError(SwarmError, ValueError):
    """The orchestrator gave no valid plan, also after it was told why."""

    exit_code = 1


EVALUATION: Final = "evaluation"
"""The scope of a budget that many runs share."""


class BudgetExhausted(SwarmError, RuntimeError):
    """A limit of the run (tokens, dollars, steps or critical steps) leaves no room for another call.

    `scope` names the budget whose limit it is: the run's, or that of a part of it; `what` is used up.
    """

    exit_code = 4

    def __init__(self, message: str, *, remedy: str = "", scope: str = "run", what: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.scope = scope
        self.what = what

    @property
    def stop(self) -> str:
        """The condition that ends an attempt by it: `budget` is the run's, or that of the evaluation which the run is
        one of; the others are its own."""
        if self.what == "seconds":
            return "timeout"
        if self.scope in ("run", EVALUATION):
            return "budget"
        return "max_steps" if self.what == "steps" else "max_tokens"


class MachineError(SwarmError, RuntimeError):
    """The machine failed, not the work: nothing that a model did or could mend."""

    exit_code = 3


class EndpointFault(StrEnum):
    """The ways in which a model call fails. Each calls for a reaction of its own (see `swarm.retry`)."""

    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"
    """Its certificate is not that of the host."""
    CONNECT_TIMED_OUT = "connect_timed_out"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    QUOTA_EXHAUSTED = "quota_exhausted"
    WRONG_KEY = "wrong_key"
    UNKNOWN_MODEL = "unknown_model"
    CONTEXT_TOO_LONG = "context_too_long"
    REFUSED = "refused"
    BAD_REQUEST = "bad_request"
    MALFORMED = "malformed"
    NO_FIRST_TOKEN = "no_first_token"
    """Sent, and nothing came within `first_token_timeout`."""
    STALLED = "stalled"
    """It came in part, and then nothing for `stall_timeout`."""
    TIMED_OUT = "timed_out"
    """The whole call took longer than `call_timeout`."""
    CUT = "cut"
    NOT_RECORDED = "not_recorded"
    """A run that is replayed asks for something else than was recorded."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What an endpoint told of its limits with an answer: the limit, what is left, and seconds until it is whole
    again, of requests and of tokens. None: not told."""

    requests_limit: float | None = None
    requests_left: float | None = None
    requests_reset_s: float | None = None
    tokens_limit: float | None = None
    tokens_left: float | None = None
    tokens_reset_s: float | None = None


class EndpointError(MachineError, ConnectionError):
    """A call to the model endpoint failed.

    `kind` tells how; `retry_after` is what the server asked for, in seconds, or None; `status` the HTTP status
    or None where no answer came; `limits` what it told of its rates; `completion_tokens` estimates how much of the
    answer had come before it failed, which may be billed. `elsewhere` says that another replica may answer the call.
    """

    def __init__(
        self,
        kind: EndpointFault,
        message: str,
        *,
        remedy: str = "",
        retry_after: float | None = None,
        status: int | None = None,
        limits: RateLimits | None = None,
        completion_tokens: int = 0,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.kind = kind
        self.limits = limits
        self.completion_tokens = completion_tokens
        self.retry_after = retry_after
        self.status = status
        self.elsewhere = False


class SandboxError(MachineError, OSError):
    """A sandbox could not be started, proved not to be closed, or died. A model never sees this."""


class JournalError(MachineError, OSError):
    """The run's record cannot be written or read; `message` names the file and, where known, the line."""
