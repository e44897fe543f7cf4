"""What outposts and their run tell each other is the same on the other side."""

from __future__ import annotations

import gc
import pickle
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, PrivateAttr

from swarm.budgets.lease_messages import Settled, Standing
from swarm.budgets.levels import Gauge, Room
from swarm.calls import Tokens
from swarm.errors import EndpointError, EndpointFault
from swarm.events import AgentEnded, CallFinished, ToolStarted
from swarm.executors.ray.messages import Answer, Ended, Flush, Steered, fault_from
from swarm.executors.ray.packing import pack, unpack
from swarm.models.admission.lease_messages import Answered, Call
from swarm.models.admission.lease_messages import Ended as CallEnded
from swarm.types import Outcome, Role, SubTask, Usage


@dataclass
class Plain:
    """A dataclass without slots, whose fields may be more than were declared."""

    number: int


class Open(BaseModel, extra="allow"):
    number: int
    _kept: list[int] = PrivateAttr(default_factory=list)


def plain_with_more() -> Plain:
    plain = Plain(1)
    vars(plain)["more"] = 2
    return plain


def called() -> CallFinished:
    call = CallFinished(
        trajectory_id="a",
        call_id="a/1",
        turn=1,
        attempt=1,
        accepted=True,
        new_messages=[{"role": "user", "content": "é\ud800"}],
        usage=Usage(prompt_tokens=3, calls=1),
    )
    vars(call).update(error="set past pydantic")
    return call


MESSAGES: tuple[Any, ...] = (
    called(),
    ToolStarted(trajectory_id="a", call_id="a/1", tool_call_id="t", name="bash", arguments="{}"),
    AgentEnded(trajectory_id="a", outcome=Outcome.COMPLETED, stop="done", terminated=True, truncated=False),
    ("budget a", Settled(-1, 3, 0.5, 1)),
    ("budget a", Standing(1, True, Room(1, 2.0, 3, 4.0), ((Gauge("run", "tokens", 1, 2), 3),))),
    ("admission u", CallEnded(1, Answered(0.1, 0.2, 3, None), True, False, 0)),
    Call("m", Role.SUBAGENT, 1, 2, None, "a", 1, 0.5),
    Ended("a", fault=fault_from(EndpointError(EndpointFault.UNREACHABLE, "slow down", retry_after=1.0))),
    Flush(),
    Steered("a", "come to an end"),
    SubTask(id="s", title="t", instructions="i"),
    Open.model_validate({"number": 1, "other": [2]}),
    Answer(1, (Outcome, CallFinished, len, None)),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was(message: Any) -> None:
    (found,) = unpack(pack([message]))
    assert found == message
    assert type(found) is type(message)
    if isinstance(message, BaseModel):
        assert found.model_fields_set == message.model_fields_set
        assert found.model_dump() == message.model_dump()


def test_what_is_no_field_arrives_as_well() -> None:
    tokens = Tokens(prompt_ids=(1, 2), completion_ids=(3,))
    call = called()
    call.with_tokens(tokens)
    held = Open(number=1)
    held._kept.append(7)
    first, second, plain = unpack(pack([call, held, plain_with_more()]))
    assert first.take_tokens() == tokens
    assert second._kept == [7]
    assert vars(plain) == {"number": 1, "more": 2}


def test_it_is_shorter_than_pickled_as_a_whole() -> None:
    messages = [deepcopy(each) for _ in range(20) for each in MESSAGES[3:7]]
    assert len(pack(messages)) < len(pickle.dumps(messages, protocol=5))


def calls_of_python(work: Callable[[], Any]) -> int:
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    gc.disable()  # others (hypothesis) are called when it works, and those are none of ours
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def test_a_message_more_takes_no_call_of_python_but_its_own_making() -> None:
    def words(count: int) -> list[Any]:
        made = [("budget a", Settled(number, 3, 0.5, 1)) for number in range(count)]
        return made + [ToolStarted(trajectory_id="a", call_id="c", tool_call_id="t", name="n", arguments="{}")] * count

    unpack(pack(words(1)))  # how they are taken apart is found at the first
    few, many = words(10), words(110)
    assert calls_of_python(lambda: pack(many)) == calls_of_python(lambda: pack(few))
    packed_few, packed_many = pack(few), pack(many)
    more = calls_of_python(lambda: unpack(packed_many)) - calls_of_python(lambda: unpack(packed_few))
    assert more <= 2 * 100 + 10
