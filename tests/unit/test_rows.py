"""Calls become training rows: every sampled token is trained once, and only where it stands as it was sampled."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.events import AgentStarted, CallFinished
from swarm.events.tokens import TokensTaken
from swarm.journal.token_log import common, ids_sha256, shortest
from swarm.rl.reading import Trajectory
from swarm.rl.rows import rows_of

Made = tuple[Sequence[int], Sequence[int]]
"""Prompt and completion of a call."""


def trajectory(*calls: Made, lineages: Sequence[int] = (), untrainable: Sequence[int] = ()) -> Trajectory:
    found = Trajectory(AgentStarted(trajectory_id="o", role="orchestrator", name="o", trainable=True))
    held: array[int] = array("q")
    for turn, (prompt, completion) in enumerate(calls, 1):
        name, lineage = f"o/{turn}", lineages[turn - 1] if lineages else 0
        ids = array("q", prompt)
        shared = common(held, ids)
        found.calls.append(
            CallFinished(
                trajectory_id="o", call_id=name, turn=turn, attempt=1, accepted=True, lineage_id=lineage,
                policy_version=f"v{turn}", token_source="server_ids", token_exact=True,
                untrainable="inexact" if turn in untrainable else "",
            )
        )  # fmt: skip
        found.tokens[name] = TokensTaken(
            trajectory_id="o", call_id=name, attempt=1, prefix_len=shared, prompt_ids_tail=list(ids[shared:]),
            prompt_len=len(ids), prompt_ids_sha256=ids_sha256(ids), completion_ids=list(completion),
            completion_logprobs=[-float(each) for each in completion],
        )  # fmt: skip
        held = ids + array("q", completion)
    return found


def test_prompts_that_go_on_make_one_row() -> None:
    (row,) = rows_of(trajectory(([1, 2], [3, 4]), ([1, 2, 3, 4, 5], [6])))
    assert row.tokens == [1, 2, 3, 4, 5, 6]
    assert row.mask == [0, 0, 1, 1, 0, 1]
    assert row.logprobs == [0, 0, -3, -4, 0, -6]
    assert (row.prompt_ids, row.response_ids, row.joins) == ([1, 2], [3, 4, 5, 6], ["clean"])
    assert (row.calls, row.versions) == (["o/1", "o/2"], ["v1", "v2"])


def test_an_answer_that_is_written_otherwise_is_taken_as_the_prompt_has_it() -> None:
    (row,) = rows_of(trajectory(([1, 2], [3, 4, 5]), ([1, 2, 3, 9, 8], [6])))
    assert row.tokens == [1, 2, 3, 9, 8, 6]
    assert row.mask == [0, 0, 1, 0, 0, 1]
    assert row.joins == ["realign"]


def test_one_that_differs_before_or_by_much_begins_another_row() -> None:
    first, second = rows_of(trajectory(([1, 2], [3, 4]), ([1, 7, 3, 4, 5], [6])))
    assert (first.tokens, second.tokens) == ([1, 2, 3, 4], [1, 7, 3, 4, 5, 6])
    assert second.mask == [0, 0, 0, 0, 0, 1]
    assert len(list(rows_of(trajectory(([1], [2, 3, 4, 5]), ([1, 9], [6])), near=2))) == 2


def test_lineages_are_never_joined_and_a_call_beside_the_turns_stands_alone() -> None:
    held = trajectory(([1], [2]), ([1, 2, 3], [4]), ([1, 2, 3, 4, 5], [6]), lineages=(0, 1, 1))
    assert [row.calls for row in rows_of(held)] == [["o/1"], ["o/2", "o/3"]]
    beside = trajectory(([1], [2]), ([1, 2, 3], [4]), ([1, 2, 5], [6]))
    beside.calls[1].call_id = "o/2-summary"
    beside.tokens["o/2-summary"] = beside.tokens.pop("o/2")
    assert [row.calls for row in rows_of(beside)] == [["o/2-summary"], ["o/1", "o/3"]]


def test_what_cannot_be_trained_on_is_context() -> None:
    (row,) = rows_of(trajectory(([1], [2]), ([1, 2, 3], [4]), ([1, 2, 3, 4, 5], [6]), untrainable=(2,)))
    assert (row.tokens, row.mask) == ([1, 2, 3, 4, 5, 6], [0, 1, 0, 0, 0, 1])


ids = st.lists(st.integers(0, 2**40), max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), ids, ids.filter(bool)), min_size=1, max_size=8))
def test_rows_hold_what_the_calls_held(steps: list[tuple[bool, list[int], list[int]]]) -> None:
    """Each call goes on from the one before, or begins anew. Every row ends with a call as it was made."""
    calls: list[tuple[list[int], list[int]]] = []
    for goes_on, tail, completion in steps:
        before = calls[-1][0] + calls[-1][1] if calls and goes_on else []
        calls.append((before + tail, completion))
    found = list(rows_of(trajectory(*calls)))
    assert [call for row in found for call in row.calls] == [f"o/{n + 1}" for n in range(len(calls))]
    for row in found:
        assert len(row.tokens) == len(row.mask) == len(row.logprobs)
        assert all(logprob == (-token if sampled else 0) for token, sampled, logprob
                   in zip(row.tokens, row.mask, row.logprobs, strict=True))  # fmt: skip
        last = int(row.calls[-1].removeprefix("o/")) - 1
        assert row.tokens == calls[last][0] + calls[last][1]
    sampled = sum(len(completion) for _, completion in calls)
    realigned = any("realign" in row.joins for row in found)
    assert realigned or sum(sum(row.mask) for row in found) == sampled


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=20), st.lists(st.integers(0, 3), max_size=20))
def test_common_is_the_longest_prefix(one: list[int], other: list[int]) -> None:
    naive = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    assert common(array("q", one), array("q", other)) == naive


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_logprobs_are_the_same_32_bit_floats(values: list[float]) -> None:
    assert shortest(shortest(values)) == shortest(values)
    assert array("f", shortest(values)) == array("f", values)
