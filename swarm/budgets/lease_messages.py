"""What a budget and those who draw on it from elsewhere tell each other, in order. All of it can be pickled."""

from __future__ import annotations

from swarm.budgets.levels import Gauge, Room
from swarm.values import value


@value(frozen=True, slots=True)
class Standing:
    """How a budget stood for one attempt after so many of its calls had been settled. `room` is what that attempt may
    use, and of it `free` what nobody else has set aside; `gauges` are those of all limits, each with how many use it
    up. Where nothing is `limited` no grants are needed."""

    settled: int
    limited: bool
    room: Room
    gauges: tuple[tuple[Gauge, int], ...]


@value(frozen=True, slots=True)
class Lease:
    """With what an attempt begins elsewhere. `soft` is the part of a limit after which one is told to come to an
    end."""

    name: str
    soft: float
    standing: Standing


# from those who draw


@value(frozen=True, slots=True)
class Wanted:
    """A grant of so much is wanted for one call. `seen` are the tokens and dollars that were known to be left: who
    wants more than that cannot do with less."""

    number: int
    tokens: int
    usd: float
    seen: tuple[float, float]


@value(frozen=True, slots=True)
class Unwanted:
    """A grant is wanted no more."""

    number: int


@value(frozen=True, slots=True)
class Took:
    """A call is sent for which so much is set aside, out of a grant; where nothing is limited, without one: then the
    number is a new negative one."""

    grant: int
    tokens: int
    usd: float


@value(frozen=True, slots=True)
class Settled:
    """A call used so much, and so many steps."""

    grant: int
    tokens: int
    usd: float
    steps: int


@value(frozen=True, slots=True)
class Returned:
    """Grants that are not needed."""

    grants: tuple[int, ...]


Drawn = Wanted | Unwanted | Took | Settled | Returned


# from the budget


@value(frozen=True, slots=True)
class Granted:
    """So much is set aside for one call. `wanted` is the number of the wish that it fulfils, 0 of none: it is for the
    next call, so that this one need not ask."""

    grant: int
    tokens: int
    usd: float
    wanted: int
    standing: Standing


@value(frozen=True, slots=True)
class Refused:
    """It does not fit: `BudgetExhausted`, as the budget said it."""

    wanted: int
    message: str
    scope: str
    what: str


@value(frozen=True, slots=True)
class Told:
    """How the budget stands now. `wanted`: that wish is of more than is left; ask for less."""

    standing: Standing
    wanted: int = 0


@value(frozen=True, slots=True)
class Recalled:
    """Somebody waits: grants that no call needs now are to come back."""


Granting = Granted | Refused | Told | Recalled
