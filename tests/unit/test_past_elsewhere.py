"""What there is of one trajectory in a journal, taken out of it."""

from __future__ import annotations

import pickle

from swarm.events import CallSent, ToolFinished, TreeKept
from swarm.journal.past import Past
from swarm.types import Outcome, RunStatus, ToolStatus
from tests.unit.test_past import began, beginning, call, ended, numbered, over


def test_what_there_is_of_one_trajectory_is_sent_elsewhere_whole() -> None:
    def used(name: str, turn: int, status: ToolStatus, result: str) -> ToolFinished:
        return ToolFinished(trajectory_id=name, call_id=f"{name}/{turn}", tool_call_id="c", name="bash", arguments="{}",
                            t_start=0, t_end=0, status=status, result=result)  # fmt: skip

    events = [*beginning("a", "b"), began("a"), began("b")]
    for name in ("a", "b"):
        events += [CallSent(trajectory_id=name, call_id=f"{name}/1", attempt=1), call(name, 1)]
        events += [
            used(name, 1, ToolStatus.COMPLETED, f"of {name}"),
            call(name, 2, prefix_call_id=f"{name}/1", prefix_messages=1),
        ]
        events += [TreeKept(trajectory_id=name, call_id=f"{name}/2", turn=2, commit=f"{name}00")]
        events += [used(name, 2, ToolStatus.CANCELLED, ""), ended(name, Outcome.CANCELLED)]
    whole = Past(numbered(*events, over(RunStatus.CANCELLED)))
    whole.observe(whole.reopened("1"))
    sent = pickle.loads(pickle.dumps(whole.only("a")))
    for past in (whole, sent):
        second = past.call("a/2")
        assert second is not None and len(past.prompt(second)) == 1
        assert (past.tries("a/1"), past.tokens("a"), past.seconds("a")) == (1, whole.tokens("a"), whole.seconds("a"))
        assert past.goes_on("a") and past.result("a") is None and past.start("a") == whole.start("a")
        assert past.kept("a") == whole.kept("a") and past.tools_used("a", 0) == {"bash"}
        told = past.tool("a/1", "c")
        assert told is not None and told.result == "of a"
        assert past.tool("a/2", "c") is None, "it was cut off, and is used again"
    assert sent.call("b/1") is None and sent.start("b") is None
