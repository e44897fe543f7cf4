"""The end of a trajectory in the record, where it ends by an exception."""

from __future__ import annotations

import pytest

from swarm.agents.trajectory import open_trajectory
from swarm.errors import MachineError
from swarm.events import AgentEnded, AgentStarted
from swarm.testing import RecordingSink
from swarm.types import Outcome, Role

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("faults", "stop", "words"),
    [
        ([FileNotFoundError("no such folder")], "FileNotFoundError", "no such folder"),
        ([MachineError("the endpoint is gone"), ValueError("ours")], "ValueError", "ours"),
        ([MachineError("the endpoint is gone")], "MachineError", "the endpoint is gone"),
    ],
)
async def test_the_innermost_fault_is_told(faults: list[Exception], stop: str, words: str) -> None:
    sink = RecordingSink()
    started = AgentStarted(trajectory_id="a", role=Role.ORCHESTRATOR, name="a", trainable=False)
    with pytest.raises(ExceptionGroup):
        async with open_trajectory(sink, started):
            raise ExceptionGroup("unhandled errors in a TaskGroup", [ExceptionGroup("tasks", faults)])
    (end,) = sink.of(AgentEnded)
    assert (end.outcome, end.stop, end.final_output) == (Outcome.ERRORED, stop, words)
