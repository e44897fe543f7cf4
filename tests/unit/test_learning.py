"""Whether a run is to be trained on: what its endpoint said, and not whether it could be asked at that moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from swarm.agents.line import Line
from swarm.budgets.budget import Budget
from swarm.budgets.levels import Limits
from swarm.calls import ModelReply, ModelRequest
from swarm.config import RunConfig
from swarm.errors import EndpointError, EndpointFault
from swarm.events import Notice
from swarm.ground import open_grounds
from swarm.models.admission.governor import Governor
from swarm.models.router import RoutedModel
from swarm.models.service import GovernedModel
from swarm.retry import RetryPolicy
from swarm.testing import RecordingSink
from swarm.types import Outcome
from swarm.verdict import orchestrators_end

pytestmark = pytest.mark.anyio


class Giver:
    """Gives tokens, once it can be asked."""

    name, endpoint = "m", "h"

    def __init__(self, failures: int, kind: EndpointFault = EndpointFault.CUT) -> None:
        self.failures = failures
        self.kind = kind
        self.asked = anyio.Event()

    async def complete(self, request: ModelRequest) -> ModelReply:
        raise NotImplementedError

    async def gives_tokens(self) -> bool:
        self.asked.set()
        if self.failures:
            self.failures -= 1
            raise EndpointError(self.kind, "not now")
        return True


class Never(Giver):
    """Does not answer."""

    async def gives_tokens(self) -> bool:
        self.asked.set()
        await anyio.sleep_forever()
        return False


def line(*models: Giver, sink: RecordingSink | None = None) -> Line:
    services = [GovernedModel(each, Governor(4), RetryPolicy(base=0.0)) for each in models]
    return Line(RoutedModel(services) if len(models) > 1 else services[0], Budget(Limits()), sink or RecordingSink())


async def test_an_endpoint_that_fails_is_asked_again() -> None:
    learning = await line(Giver(2)).learning(replayed=False, stop=anyio.Event())
    assert learning is not None
    assert learning.learns


async def test_one_that_cannot_be_asked_ends_the_run_and_is_not_taken_for_one_that_gives_none() -> None:
    gone = EndpointFault.WRONG_KEY
    with pytest.raises(EndpointError, match="not now"):
        await line(Giver(99, gone)).learning(replayed=False, stop=anyio.Event())
    learning = await line(Giver(99, gone), Giver(0)).learning(replayed=False, stop=anyio.Event())
    assert learning is not None
    assert learning.learns, "one of two replicas tells"


async def test_a_long_wait_for_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.agents.line.QUIET_S", 0.0)
    sink, stop = RecordingSink(), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: line(Never(0), sink=sink).learning(replayed=False, stop=stop))
        while not sink.events:
            await anyio.lowlevel.checkpoint()
        stop.set()
    assert [event.message for event in sink.of(Notice)] == ["no answer yet from m at h: what fails is tried again"]


async def test_a_stop_meanwhile_decides_nothing() -> None:
    stop, model = anyio.Event(), Never(0)
    async with anyio.create_task_group() as group:

        async def stopping() -> None:
            await model.asked.wait()
            stop.set()

        group.start_soon(stopping)
        assert await line(model).learning(replayed=False, stop=stop) is None


def test_the_time_of_the_run_is_no_wish_of_the_caller() -> None:
    assert orchestrators_end(None, stopped=True, late=True) == (Outcome.TIMED_OUT, "timeout")
    assert orchestrators_end(None, stopped=True, late=False)[0] is Outcome.CANCELLED
    assert orchestrators_end(None, stopped=False, late=False)[0] is Outcome.COMPLETED


async def test_a_run_whose_ground_is_proved_waits_for_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    checking, go = anyio.Event(), anyio.Event()

    @asynccontextmanager
    async def opened(sandbox: str, *_: object, image: str, **__: object) -> AsyncIterator[object]:
        if image == "slow":
            checking.set()
            await go.wait()
        yield object()

    monkeypatch.setattr("swarm.sandboxes.catalog.open_backend", opened)
    config = RunConfig(sandbox="process")
    async with open_grounds(None) as grounds, anyio.create_task_group() as group:
        async with grounds.ground("a", config):
            pass

        async def slow() -> None:
            async with grounds.ground("b", config.model_copy(update={"image": "slow"})):
                pass

        group.start_soon(slow)
        await checking.wait()
        for run, image in (("c", config.image), ("d", "other")):
            async with grounds.ground(run, config.model_copy(update={"image": image})):
                pass
        go.set()
