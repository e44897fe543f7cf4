"""The real router over real governors, on a simulated clock, at endpoints that fail by a timetable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import cast

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.models.admission.governor import Governor
from swarm.models.replicas import Replica
from swarm.models.router import RoutedModel
from swarm.models.service import GovernedModel
from swarm.retry import RetryPolicy, may_be_billed
from swarm.testing.simulated_loop import SimulatedLoop, by_bytes
from swarm.types import Role, Usage
from tests.effort import examples

FAULTS = {
    "limited": (EndpointFault.RATE_LIMITED, 429, 2.0),
    "busy": (EndpointFault.OVERLOADED, 503, None),
    "dead": (EndpointFault.UNREACHABLE, None, None),
    "wrong key": (EndpointFault.WRONG_KEY, 401, None),
    "cut": (EndpointFault.CUT, None, None),
}
timetables = st.lists(st.tuples(st.sampled_from([*FAULTS, "well"]), st.sampled_from([0.5, 5.0, 40.0])), max_size=4)


@dataclass
class Endpoint:
    """Does as its timetable says, and is well after that, or as it was `last`."""

    endpoint: str
    timetable: Sequence[tuple[str, float]]
    ceiling: int
    last: str = "well"
    name: str = "m"
    inside: int = 0
    answered: list[str] = field(default_factory=list)
    began: float = 0.0

    def mode(self) -> str:
        at = anyio.current_time() - self.began
        for mode, seconds in self.timetable:
            if at < seconds:
                return mode
            at -= seconds
        return self.last

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.inside += 1
        sent = anyio.current_time()
        try:
            assert self.inside <= self.ceiling
            await anyio.sleep(0.7 if self.mode() == "well" else 0.1)
            mode = self.mode()
            if mode != "well":
                kind, status, pause = FAULTS[mode]
                raise EndpointError(kind, mode, status=status, retry_after=pause)
        finally:
            self.inside -= 1
        self.answered.append(str(request.messages[0]["content"]))
        now = anyio.current_time()
        usage = Usage(prompt_tokens=10, completion_tokens=1, calls=1)
        return ModelReply({}, "", (), "stop", usage, "m", sent, now, now)


@settings(max_examples=examples(15))
@given(
    tables=st.lists(timetables, min_size=1, max_size=2),
    ceiling=st.integers(1, 4),
    agents=st.integers(1, 9),
    impatient=st.sets(st.integers(0, 8), max_size=3),
    order=st.binary(max_size=8),
)
def test_every_call_is_answered_once_where_one_replica_is_well(
    tables: list[list[tuple[str, float]]], ceiling: int, agents: int, impatient: set[int], order: bytes
) -> None:
    """One of the replicas is always well. Some agents give up after a while; they leave no trace."""
    endpoints = [Endpoint(f"e{n}", table, ceiling) for n, table in enumerate(tables)]
    endpoints.append(Endpoint("well", [], ceiling))
    failed: list[EndpointError] = []
    gave_up: set[int] = set()
    done: list[str] = []

    async def main() -> None:
        for each in endpoints:
            each.began = anyio.current_time()
        clock = anyio.current_time
        governed = [GovernedModel(each, Governor(ceiling, clock=clock)) for each in endpoints]
        router = RoutedModel([cast(Replica, each) for each in governed], clock=clock)
        with anyio.fail_after(3600):
            async with anyio.create_task_group() as group:
                for number in range(agents):
                    group.start_soon(agent, router, number)
        assert [(place.calls, each.inside) for place, each in zip(router.statistics(), endpoints, strict=True)] == [
            (0, 0) for _ in endpoints
        ]
        for governor in (each.governor for each in governed):
            assert governor.statistics()[:3] == (0, governor.statistics().window, 0)
        assert sum(place.answered for place in router.statistics()) == sum(len(each.answered) for each in endpoints)

    async def agent(router: RoutedModel, number: int) -> None:
        policy, rng = RetryPolicy(), Random(number)
        with anyio.move_on_after(3.0 + number if number in impatient else 7200.0):
            for turn in range(4):
                name, tries, since = f"{number}/{turn}", 0, anyio.current_time()
                while True:
                    ask = Ask(Role.SUBAGENT, 10, prefix="p", turn=turn, since=since, trajectory_id=str(number))
                    try:
                        async with router.admit(ask) as model:
                            await model.complete(ModelRequest([{"role": "user", "content": name}]))
                        break
                    except EndpointError as error:
                        tries += policy.counts(error)
                        again = policy.decide(error, tries, rng)
                        if again is None:
                            failed.append(error)
                            gave_up.add(number)
                            return
                        await anyio.sleep(again)
                done.append(name)

    anyio.run(main, backend_options={"loop_factory": lambda: SimulatedLoop(by_bytes(order))})
    # What may have been paid for is not asked for again without end: two replicas that are ill may use up the tries.
    assert len(tables) > 1 or not failed, failed
    assert all(may_be_billed(error) for error in failed), failed
    answered = [name for each in endpoints for name in each.answered]
    assert len(set(answered)) == len(answered)
    assert set(done) <= set(answered)
    patient = {f"{number}/{turn}" for number in range(agents) if number not in impatient | gave_up for turn in range(4)}
    assert patient <= set(done)
