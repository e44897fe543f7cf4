"""What the authority over an endpoint's admission and those who admit calls elsewhere tell each other, in order. All of
it can be pickled. Times are ages, or on the clock of whoever sends: no two machines have the same one."""

from __future__ import annotations

from swarm.calls import Ask
from swarm.errors import EndpointError, EndpointFault, RateLimits
from swarm.types import Role
from swarm.values import value


@value(frozen=True, slots=True)
class Call:
    """A call that wants to be made. With `trajectory_id`, `since` names it. It is told `at` this time."""

    model: str
    role: Role
    tokens: int
    turn: int
    since: float | None
    trajectory_id: str
    attempt: int
    at: float

    @classmethod
    def of(cls, ask: Ask, model: str, now: float) -> Call:
        return cls(model, ask.role, ask.tokens, ask.turn, ask.since, ask.trajectory_id, ask.attempt, now)


@value(frozen=True, slots=True)
class Fault:
    """An `EndpointError`."""

    kind: EndpointFault
    message: str
    remedy: str
    retry_after: float | None
    status: int | None
    limits: RateLimits | None

    @classmethod
    def of(cls, error: EndpointError) -> Fault:
        return cls(error.kind, error.message, error.remedy, error.retry_after, error.status, error.limits)

    def error(self) -> EndpointError:
        return EndpointError(
            self.kind,
            self.message,
            remedy=self.remedy,
            retry_after=self.retry_after,
            status=self.status,
            limits=self.limits,
        )


@value(frozen=True, slots=True)
class Answered:
    """How a call was answered that was sent `age` seconds ago, and took so many of them."""

    age: float
    seconds: float
    tokens: int
    limits: RateLimits | None


# from those who admit; `waiting` is how many calls wait there


@value(frozen=True, slots=True)
class Wanted:
    """A place is wanted for this call, or for another of that kind."""

    number: int
    call: Call
    waiting: int


@value(frozen=True, slots=True)
class Unwanted:
    """Places are wanted no more."""

    numbers: tuple[int, ...]
    waiting: int


@value(frozen=True, slots=True)
class Began:
    """This call has a place: one that was kept, or one that was given for another."""

    place: int
    call: Call
    waiting: int


@value(frozen=True, slots=True)
class Failed:
    """A call failed that was sent `age` seconds ago, in this place, or beside them all (0)."""

    place: int
    fault: Fault
    age: float


@value(frozen=True, slots=True)
class Ended:
    """A call is over, or was never `sent`; its place is `kept` for another, or free."""

    place: int
    answered: Answered | None
    sent: bool
    kept: bool
    waiting: int


@value(frozen=True, slots=True)
class Returned:
    """Places that were kept are free."""

    places: tuple[int, ...]


Report = Wanted | Unwanted | Began | Failed | Ended | Returned


# from the authority


@value(frozen=True, slots=True)
class Given:
    """A place for the call that was `wanted` under this number."""

    place: int
    wanted: int


@value(frozen=True, slots=True)
class Refused:
    """A call will not be admitted."""

    wanted: int
    fault: Fault


@value(frozen=True, slots=True)
class Conditions:
    """What holds from now on. `free`: a place may be taken by one call after the other; else each call needs its own.
    `most`: so many places may be kept, None: all there are. `heard` counts the failures that were told. `wait_s` is
    about what a call would wait."""

    free: bool
    most: int | None
    heard: int
    wait_s: float


@value(frozen=True, slots=True)
class News:
    """A line for the users whose calls wait."""

    text: str


Ruling = Given | Refused | Conditions | News
