"""A call that waits at one replica while another one becomes free."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest

from swarm.calls import Ask
from swarm.models.admission.governor import Governor
from swarm.models.router import RoutedModel
from swarm.models.service import GovernedModel
from swarm.protocols import Model
from swarm.testing.simulated_loop import SimulatedLoop
from tests.unit.test_router import Fake, ask, call, fakes


class Full(GovernedModel):
    """Admits nobody until then, and says how long that would about take."""

    def __init__(self, model: Fake, wait: float, until: float) -> None:
        super().__init__(model, Governor(64))
        self.wait, self.until = wait, until

    def estimated_wait(self, ask: Ask) -> float:
        return self.wait if anyio.current_time() < self.until else 0.0

    def admit(self, ask: Ask) -> AbstractAsyncContextManager[Model]:
        return self._late(ask)

    @asynccontextmanager
    async def _late(self, ask: Ask) -> AsyncIterator[Model]:
        await anyio.sleep_until(self.until)
        async with super().admit(ask) as model:
            yield model


@pytest.mark.parametrize("wait", [3.0, 50.0, 5000.0])
def test_a_call_that_waits_long_goes_where_there_is_room_meanwhile(wait: float) -> None:
    async def main() -> float:
        began = anyio.current_time()
        first, second, _ = fakes()
        replicas = [Full(first, wait, began + 300.0), Full(second, 2 * wait, began + 5.0)]
        router = RoutedModel(replicas, anyio.current_time)
        assert await call(router, ask()) is None
        assert second.calls == 1
        return anyio.current_time() - began

    waited = anyio.run(main, backend_options={"loop_factory": SimulatedLoop})
    assert 5.0 <= waited <= 17.0
