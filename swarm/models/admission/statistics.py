"""What admission tells of itself."""

from __future__ import annotations

from typing import NamedTuple


class GovernorStatistics(NamedTuple):
    """The state of admission. `held_s`: seconds until the next call may be sent as far as rates go; `rate`: calls a
    second, as learnt from refusals, None where no limit was met; `parked`: why nothing is admitted, or "".
    `admitted` and `refused` count calls since the start; `refused` are those that met a rate limit or overload."""

    in_flight: int
    window: int
    waiting: int
    held_s: float
    rate: float | None
    parked: str
    admitted: int
    refused: int
