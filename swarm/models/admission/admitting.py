"""What admits calls to an endpoint: a governor, or one who has its places from a governor elsewhere."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from swarm.calls import Ask, ModelReply
from swarm.errors import EndpointError
from swarm.models.admission.statistics import GovernorStatistics
from swarm.models.admission.waiting import Admission


class Admitting(Protocol):
    """See `swarm.models.admission.governor.Governor`."""

    def admit(self, ask: Ask, model: str = "") -> AbstractAsyncContextManager[Admission]: ...

    def succeeded(self, reply: ModelReply, admission: Admission | None = None) -> None: ...

    def failed(self, error: EndpointError, admission: Admission | None = None) -> None: ...

    def reached(self, seconds: float) -> None: ...

    def estimated_wait(self, ask: Ask) -> float: ...

    def statistics(self) -> GovernorStatistics: ...

    def tell_all(self, text: str) -> None: ...
