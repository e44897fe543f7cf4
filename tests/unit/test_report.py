"""The parts of a report that need no browser: time, patches, layout, ways, conversations."""

from __future__ import annotations

import base64
import json
import zlib
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    CallSent,
    ContextEdited,
    Event,
    GroupEnded,
    GroupStarted,
    RunResumed,
    RunStarted,
    StageStarted,
    ToolFinished,
    ToolStarted,
)
from swarm.hunks import FilePatch, parse
from swarm.journal.critical import longest_way
from swarm.report.blobs import Blobs
from swarm.report.compare import differences
from swarm.report.fold import Fold
from swarm.report.graph import way_by_steps, way_by_time
from swarm.report.layout import lay_out
from swarm.report.model import FAILED_CALL, GROUP, MODEL, TOOL, WAIT, Agent, RunPage
from swarm.report.patches import shown
from swarm.report.talk import Systems
from swarm.types import Outcome, Plan, SubTask, ToolStatus, Usage
from tests.big_run import big_run

PATCH = rb"""diff --git a/a.txt b/a.txt
index 1..2 100644
--- a/a.txt
+++ b/a.txt
@@ -1,3 +1,3 @@ heading
 one
--- not a header
++++ nor this
 three
\ No newline at end of file
diff --git "a/\303\244\t.txt" "b/\303\244\t.txt"
new file mode 100644
--- /dev/null
+++ "b/\303\244\t.txt"
@@ -0,0 +1 @@
+new
diff --git a/blob b/blob
new file mode 100644
index 0000..1111
GIT binary patch
literal 3
Kcmd;PV3J

diff --git a/gone file b/gone file
deleted file mode 100644
--- a/gone file
+++ /dev/null
@@ -1,2 +0,0 @@
-x
-y
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
"""


def told(events: list[Event]) -> tuple[RunPage, list[Any]]:
    """The page that events make, and each agent's conversation."""
    blobs = Blobs()
    fold = Fold(blobs, Systems())
    for seq, event in enumerate(events):
        fold.observe(event.model_copy(update={"seq": seq}))
    page = fold.page("completed", live=False)
    return page, [unpacked(blobs.packed[agent.messages]) for agent in page.agents]


def unpacked(packed: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(packed), -15))


def spans(agent: Agent) -> list[tuple[int, int, int]]:
    return list(zip(agent.spans[0::3], agent.spans[1::3], agent.spans[2::3], strict=True))


def run_started(mono: float) -> RunStarted:
    return RunStarted(
        task="t",
        task_sha256="",
        mode="plan",
        swarm_version="0",
        config={"x": float("inf")},
        config_sha256="",
        mono=mono,
    )


def call(turn: int, mono: float, **more: Any) -> CallFinished:
    return CallFinished.model_validate(
        {
            "trajectory_id": "a",
            "call_id": f"a/{turn}",
            "turn": turn,
            "attempt": 1,
            "accepted": True,
            "mono": mono,
            **more,
        }
    )


def started(name: str, mono: float, **more: Any) -> AgentStarted:
    subtask = SubTask(id=name, title=name, instructions="i")
    return AgentStarted(
        trajectory_id=name, role="subagent", name=name, trainable=False, stage=1, subtask=subtask, mono=mono, **more
    )


def ended(name: str, mono: float) -> AgentEnded:
    return AgentEnded(
        trajectory_id=name, outcome=Outcome.COMPLETED, stop="submitted", terminated=True, truncated=False, mono=mono
    )


def test_a_patch_is_taken_apart_whatever_stands_in_it() -> None:
    files = parse(PATCH)
    assert [(file.name, file.change, file.binary) for file in files] == [
        ("a.txt", "changed", False),
        ("ä\t.txt", "added", False),
        ("blob", "added", True),
        ("gone file", "removed", False),
        ("run.sh", "mode", False),
    ]
    assert [(line.kind, line.text) for line in files[0].hunks[0].lines] == [
        (" ", "one"),
        ("-", "-- not a header"),
        ("+", "+++ nor this"),
        (" ", "three"),
        ("\\", " No newline at end of file"),
    ]
    assert files[0].hunks[0].heading == "heading"
    assert (files[3].count("-"), files[1].count("+")) == (2, 1)


@given(st.binary(max_size=400))
@settings(max_examples=60)
def test_what_is_no_patch_does_no_harm(data: bytes) -> None:
    for file in parse(b"diff --git a/x b/x\n@@ -1,2 +1,2 @@\n" + data):
        assert file.name.isprintable() or file.name


def test_what_reviewers_must_see_is_on_the_page() -> None:
    hostile = b"x \xe2\x80\xae y\r\n-caf\xe9\n+z \xe2\x80\x8b\n"
    patch = b"diff --git a/n\xe2\x80\xae b/n\xe2\x80\xae\n@@ -1 +1,2 @@ h\xe2\x81\xa6\n+" + hostile
    files = parse(patch + b"@@ -" + b"9" * 5000 + b" +1 @@\n")
    blobs = Blobs()
    [file] = shown(files, "", blobs).files
    [beside] = differences(files, [], blobs)
    assert (file.name, beside.name) == ("n<U+202E>", "n<U+202E>")
    [hunk], rows = (unpacked(packed) for packed in blobs.packed)
    lines = ["x <U+202E> y^M", "caf<E9>", "z <U+200B>"]
    assert (hunk["head"], [text for _, text, _ in hunk["lines"]]) == ("h<U+2066>", lines)
    assert [row[1][1:] for row in rows] == lines


def test_time_in_which_nobody_worked_is_left_out_and_spans_tell_what_was_done() -> None:
    tool = {"trajectory_id": "a", "tool_call_id": "1", "name": "bash", "arguments": "{}"}
    page, talks = told(
        [
            run_started(1000.0),
            started("a", 1001.0),
            CallSent(trajectory_id="a", call_id="a/1", attempt=1, mono=1003.0),
            call(1, 1003.5, accepted=False, error="overloaded", t_sent=1003.0, t_done=1003.5, wait_s=2.0),
            CallSent(trajectory_id="a", call_id="a/1", attempt=2, mono=1004.0),
            call(1, 1005.0, attempt=2, t_sent=1004.0, t_done=1005.0, usage=Usage(prompt_tokens=5, calls=1)),
            ToolStarted.model_validate({**tool, "call_id": "a/1", "mono": 1005.0}),
            RunResumed(swarm_version="0", began_with="0", again=["a"], mono=50_000.0),
            ToolStarted.model_validate({**tool, "call_id": "a/1", "mono": 50_001.0}),
            ToolFinished.model_validate(
                {**tool, "call_id": "a/1", "t_start": 50_001.0, "t_end": 50_002.0, "mono": 50_002.0, "result": "r",
                 "status": ToolStatus.COMPLETED}
            ),
            ended("a", 50_003.0),
        ]
    )  # fmt: skip
    [agent] = page.agents
    assert (agent.start, agent.end, page.wall_ms) == (1000, 8000, 8000)
    assert spans(agent) == [
        (WAIT, 1000, 2000), (FAILED_CALL, 3000, 500), (MODEL, 4000, 1000), (TOOL, 6000, 1000)
    ]  # fmt: skip
    assert (agent.failed_calls, agent.steps, agent.prompt, agent.wait_ms, agent.tool_ms) == (1, 1, 5, 2000, 1000)
    assert [item["kind"] for item in talks[0]] == ["fault", "assistant", "call", "call"]
    assert talks[0][2]["status"].startswith("cut off")
    assert page.config["x"] == float("inf")  # and the page leaves it out


def test_own_sub_agents_hang_on_the_one_that_asked_for_them() -> None:
    page, _ = told(
        [
            run_started(0.0),
            StageStarted(stage=1, plan=Plan(subtasks=(SubTask(id="a", title="a", instructions="i"),)), mono=0.0),
            started("a", 1.0),
            GroupStarted(
                trajectory_id="a", stage=1, group=1, subtasks=[SubTask(id="a.1", title="x", instructions="j")], mono=2.0
            ),
            started("a.1", 2.0, parent_trajectory_id="a", depth=2),
            ended("a.1", 4.0),
            GroupEnded(trajectory_id="a", stage=1, group=1, mono=5.0),
            ended("a", 6.0),
        ]
    )
    assert spans(page.agents[0]) == [(GROUP, 2000, 3000)]
    assert [(node.id, node.origin, node.state) for node in page.graph.nodes] == [
        ("a", "", "completed"),
        ("a.1", "a", "completed"),
    ]
    assert page.graph.edges == [(0, 1, 2)]
    assert page.graph.nodes[1].x > page.graph.nodes[0].x


def test_a_conversation_that_was_shortened_is_told_once() -> None:
    start = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    again = {"role": "user", "content": "go on"}
    _, talks = told(
        [
            run_started(0.0),
            started("a", 0.0),
            call(1, 1.0, new_messages=start, response={"content": "one"}),
            call(2, 2.0, new_messages=[again], response={"content": "two"}, prefix_call_id="a/1", prefix_messages=3),
            call(3, 3.0, new_messages=[again], response={"content": "three"}, prefix_call_id="a/2", prefix_messages=5),
            ContextEdited(trajectory_id="a", lineage_id=1, action="summarized", mono=3.0),
            call(
                4, 4.0, lineage_id=1, response={"content": [{"type": "text", "text": "four"}], "reasoning": "hm"},
                new_messages=[*start, {"role": "user", "content": "summary"}, again],
            ),
        ]
    )  # fmt: skip
    assert [item.get("text", item["kind"]) for item in talks[0] if item["kind"] != "note"] == [
        "system", "u", "one", "go on", "two", "go on", "three", "summary", "four",
    ]  # fmt: skip
    assert talks[0][-1]["thinking"] == "hm"


graphs = st.integers(1, 40).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=80),
        st.lists(st.integers(0, 9), min_size=size, max_size=size),
    )
)


@given(graphs)
@settings(max_examples=50)
def test_no_two_nodes_overlap_and_arrows_lead_to_the_right(graph: tuple[int, list[tuple[int, int]], list[int]]) -> None:
    size, pairs, steps = graph
    needs = {str(n): [str(a) for a, b in pairs if b == n and a < b] for n in range(size)}
    layout = lay_out({1: list(needs)}, needs)
    assert layout == lay_out({1: list(needs)}, needs)
    assert len(set(layout.places.values())) == size
    for name, (x, y) in layout.places.items():
        assert 0 <= x <= layout.width - layout.node_width
        assert 0 <= y <= layout.height - layout.node_height
        assert all(layout.places[other][0] + layout.node_width < x for other in needs[name])
        near = [place for place in layout.places.values() if place != (x, y)]
        assert all(abs(x - a) >= layout.node_width or abs(y - b) >= layout.node_height for a, b in near)
    counted = {str(n): count for n, count in enumerate(steps)}
    way = way_by_steps(needs, counted)
    assert sum(counted[name] for name in way) == longest_way(needs, counted)
    assert all(before in needs[name] for before, name in pairwise(way))


def test_the_way_by_the_clock_goes_back_through_what_ended_last() -> None:
    needs = {"a": [], "b": [], "group": ["a", "b"], "c": ["group"], "d": []}
    assert way_by_time(needs, {"a": 5, "b": 9, "c": 12, "d": 11}) == ["b", "group", "c"]
    assert way_by_time({}, {"a": 1}) == ["a"]
    assert way_by_time({"a": ["b"], "b": ["a"]}, {"a": 1, "b": 2}) == ["a", "b"]
    assert way_by_steps({"a": ["b"], "b": ["a"]}, {"a": 1, "b": 2}) == ["b"]


def test_the_sums_of_agents_are_those_of_the_run() -> None:
    page, _ = told(sorted(big_run(24, 5), key=lambda event: event.mono))
    assert sum(agent.prompt for agent in page.agents) == page.prompt_tokens > 0
    assert sum(agent.steps for agent in page.agents) == page.total_steps
    assert len(page.graph.nodes) == 24
    assert {node.state for node in page.graph.nodes} == {"completed", "failed", "unmerged", "skipped"}
    chosen = [agent for agent in page.agents if agent.by_steps and agent.role == "subagent"]
    assert sum(agent.steps for agent in chosen) == page.critical_steps
    assert page.state == ""


def test_two_patches_are_laid_beside_each_other() -> None:
    one, other = parse(PATCH), parse(PATCH.replace(b"+++ nor this", b"+another"))
    found = differences(one, [*other[:2], FilePatch("theirs")], Blobs())
    assert {each.name: each.how for each in found} == {
        "a.txt": "differs",
        "ä\t.txt": "same",
        "blob": "first",
        "gone file": "first",
        "run.sh": "first",
        "theirs": "second",
    }
