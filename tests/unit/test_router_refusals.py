"""A replica that refuses one call alone, and is well otherwise."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from swarm.calls import Ask
from swarm.errors import EndpointError, EndpointFault
from swarm.models.admission.governor import Governor
from swarm.models.admission.waiting import Admission
from swarm.models.router import RoutedModel
from swarm.models.service import GovernedModel
from tests.unit.test_router import ask, call, fakes

pytestmark = pytest.mark.anyio


class Unwilling(Governor):
    """Refuses every call as if it was that call alone."""

    asked = 0

    def admit(self, ask: Ask, model: str = "") -> AbstractAsyncContextManager[Admission]:
        self.asked += 1
        assert self.asked < 9, "it is asked again and again"
        raise EndpointError(EndpointFault.RATE_LIMITED, "refused as always", remedy="none")


async def test_a_replica_that_refuses_one_call_alone_is_not_asked_again() -> None:
    first, second, _ = fakes()
    governor = Unwilling(64)
    one, other = GovernedModel(first, governor), GovernedModel(second, Governor(64))
    assert await call(RoutedModel([one, other]), ask()) is None
    assert (governor.asked, second.calls) == (1, 1)
    dead = RoutedModel([GovernedModel(first, Unwilling(64)), GovernedModel(second, Unwilling(64))])
    with pytest.raises(EndpointError, match="no replica is left: refused as always") as refused:
        await call(dead, ask())
    assert (refused.value.kind, refused.value.remedy) == (EndpointFault.RATE_LIMITED, "none")
