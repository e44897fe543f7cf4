"""The limits of a model call, on a virtual clock: each is met when it is due, however far its timer was put off."""

from __future__ import annotations

import anyio
import pytest

from swarm.calls import StreamLimits
from swarm.errors import EndpointFault
from swarm.models.wire.watch import Watch
from swarm.testing.simulated_loop import SimulatedLoop

LIMITS = StreamLimits(first_token=100, stall=10)


async def seconds_of_a_call(connects: float, first: float | None) -> tuple[float, EndpointFault]:
    """Until a call was given up that connects after so many seconds, and whose answer begins so much later, or never,
    and does not go on."""
    began = anyio.current_time()
    watch = Watch(600, LIMITS, 30)
    with watch.scope:
        await anyio.sleep(connects)
        watch.sent()
        if first is not None:
            await anyio.sleep(first)
            watch.came(1, 0)
        await anyio.sleep_forever()
    watch.close()
    return anyio.current_time() - began, watch.fault("e").kind


@pytest.mark.parametrize(
    ("connects", "first", "given_up", "kind"),
    [
        (0, None, 100, EndpointFault.NO_FIRST_TOKEN),
        (25, None, 125, EndpointFault.NO_FIRST_TOKEN),  # longer than the shortest limit
        (5, 20, 25 + 10.5, EndpointFault.STALLED),
        (0, 95, 95 + 10.5, EndpointFault.STALLED),
        (700, None, 630, EndpointFault.TIMED_OUT),
    ],
)
def test_a_limit_is_met_when_it_is_due(
    connects: float, first: float | None, given_up: float, kind: EndpointFault
) -> None:
    options = {"loop_factory": SimulatedLoop}
    seconds, met = anyio.run(seconds_of_a_call, connects, first, backend_options=options)
    assert met is kind
    assert seconds == pytest.approx(given_up)
