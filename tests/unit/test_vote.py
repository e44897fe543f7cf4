"""One answer out of many: votes, the judge, and which aggregator a run has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.aggregators.chosen import BestOfAggregator, aggregator_for
from swarm.aggregators.judge import Ruling, letter, ruling, shown, split
from swarm.aggregators.vote import VoteAggregator
from swarm.calls import ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.events import AgentStarted, Notice
from swarm.stages import Harvest, Merged, StageReport
from swarm.testing import Answer, RecordingSink, Turn
from swarm.types import Outcome, Plan, SubTask
from tests.unit.desks import desk, harvest, requests, result

pytestmark = pytest.mark.anyio


def prefers(*words: str) -> Answer:
    """A judge that ranks by the order of words in the answers."""

    def answer(request: ModelRequest) -> Turn:
        sections = str(request.messages[-1]["content"]).split("# Answer ")[1:]
        ranked = sorted(sections, key=lambda text: next(n for n, word in enumerate(words) if word in text))
        return {"reason": f"{words[0]} is right", "ranking": [text.split("\n")[0] for text in ranked]}

    return answer


def first_wins(request: ModelRequest) -> Turn:
    """A judge that always prefers the answer that it reads first."""
    count = str(request.messages[-1]["content"]).count("# Answer ")
    return {"reason": "it came first", "ranking": [letter(n) for n in range(count)]}


async def test_a_majority_needs_no_judge() -> None:
    at = desk([])
    votes = [result("a", "**42**."), result("b", "41"), result("c", " 42 "), result("d", outcome=Outcome.FAILED)]
    merged = await VoteAggregator(at).merge(harvest(*votes))
    assert merged.text == "**42**.\n\nChosen by 2 of 3 votes: a, c. Other votes: 1 for that of b."


async def test_structured_answers_are_compared_by_value() -> None:
    votes = [result("a", value={"x": 1, "y": 2}), result("b", value={"y": 2, "x": 1}), result("c", value={"x": 2})]
    assert "2 of 3 votes: a, b" in (await VoteAggregator(desk([])).merge(harvest(*votes))).text


async def test_a_tie_is_told_and_judged_both_ways_round() -> None:
    at = desk(prefers("beta", "alpha", "gamma"), seed=3)
    votes = [result("a", "alpha"), result("b", "beta"), result("c", "gamma")]
    merged = await VoteAggregator(at).merge(harvest(*votes))
    assert merged.text.startswith("beta\n\n3 answers are even with 1 of 3 votes each: a, b, c.")
    assert merged.text.endswith("The judge chose b: beta is right")
    orders = [
        [line for line in str(r.messages[-1]["content"]).split("\n") if line in ("alpha", "beta", "gamma")]
        for r in requests(at)
    ]
    assert orders[0] == orders[1][::-1]


async def test_a_judge_that_goes_by_place_decides_nothing() -> None:
    merged = await VoteAggregator(desk(first_wins)).merge(harvest(result("a", "alpha"), result("b", "beta")))
    assert merged.text.startswith("alpha\n\n2 answers are even")
    assert "undecided" in merged.text


@pytest.mark.parametrize("turn", ["no idea", '{"ranking": []}', EndpointError(EndpointFault.REFUSED, "no")])
async def test_without_a_ruling_the_first_is_given_and_it_is_said(turn: Turn) -> None:
    merged = await VoteAggregator(desk([turn, turn])).merge(harvest(result("a", "alpha"), result("b", "beta")))
    assert merged.text.startswith("alpha\n\n2 answers are even")
    assert merged.text.endswith("No judge could be asked; this is the first, a.")


@given(st.lists(st.permutations(range(4)).map(list), min_size=1, max_size=2))
def test_a_ruling_ranks_each_once_and_agreement_decides(rankings: list[list[int]]) -> None:
    found = ruling(4, [(ranked, "r") for ranked in rankings])
    assert found is not None
    assert sorted(found.order) == [0, 1, 2, 3]
    if len({tuple(ranked) for ranked in rankings}) == 1:
        assert found == Ruling(tuple(rankings[0]), True, "r", len(rankings))
    reversed_too = ruling(4, [(rankings[0], ""), (rankings[0][::-1], "")])
    assert reversed_too is not None
    assert not reversed_too.decided


async def test_the_configuration_chooses_and_auto_makes_a_table_of_rows(tmp_path: Path) -> None:
    rows = [result("a", value=[{"id": 1, "n": "x"}]), result("b", value={"rows": [{"id": 1, "n": "y"}, {"id": 2}]})]
    at = desk([], tmp_path, table_key=("id",))
    merged = await aggregator_for(at, None).merge(harvest(*rows))
    assert merged.text.startswith("| id | n |\n| --- | --- |\n| 1 | x / y |\n| 2 |  |\n\nSources contradict")
    assert "- 1: n: x (a); y (b)" in merged.text
    data = json.loads((tmp_path / "table.json").read_text())
    assert [row["_sources"] for row in data["rows"]] == [["a", "b"], ["b"]]
    # A text among them makes it a text; asked for by name it stays a table, and says what is not in it.
    mixed = [*rows, result("c", "no table here")]
    text = await aggregator_for(desk(["all of it\nSources: a, b, c"], tmp_path), None).merge(harvest(*mixed))
    assert text.text == "all of it"
    told = await aggregator_for(desk([], tmp_path, aggregate="table"), None).merge(harvest(*mixed))
    assert told.text.endswith("Without a table, and so not in it: c.")


async def test_a_table_without_a_row_is_no_answer_and_a_strange_key_is_told(tmp_path: Path) -> None:
    at = desk([], tmp_path, aggregate="table", table_key=("id", "isin"))
    told = await aggregator_for(at, None).merge(harvest(result("a", "no table here")))
    assert told == Merged(
        "There is no answer: no result holds a table with a row. Without a table, and so not in it: a.",
        whole=True,
        void=True,
    )
    told = await aggregator_for(at, None).merge(harvest(result("a", value=[{"id": 1, "n": "x"}, {"id": 1}])))
    said = "No row has the key 'isin': only equal rows are united. The columns are: 'id', 'n'."
    assert said in told.text
    assert isinstance(at.sink, RecordingSink)
    assert [notice.message for notice in at.sink.of(Notice)] == [said]


async def test_many_answers_are_judged_in_rounds_that_fit() -> None:
    def best(request: ModelRequest) -> Turn:
        sections = str(request.messages[-1]["content"]).split("# Answer ")[1:]
        ranked = sorted(sections, key=lambda text: -int(text.split()[1]))
        return {"reason": "more", "ranking": [text.split()[0] for text in ranked]}

    at = desk(best, merge_tokens=10_000)
    votes = [result(f"t{n}", f"{n} " + "x" * 5000) for n in range(300)]
    merged = await VoteAggregator(at).merge(harvest(*votes))
    assert merged.text.startswith("299 xxx")
    assert merged.text.endswith("The judge chose t299: more")
    assert max(len(str(request.messages[-1]["content"])) for request in requests(at)) <= 30_000
    assert len(requests(at)) == 2 * (11 + 1)
    assert isinstance(at.sink, RecordingSink)
    names = [event.trajectory_id for event in at.sink.of(AgentStarted)]
    assert len(set(names)) == 24
    assert {"judge-1.1", "judge-1.2", "judge-1~1.1.1"} < set(names)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=30), st.integers(30, 5000))
def test_answers_are_cut_only_as_far_as_they_must(lengths: list[int], room: int) -> None:
    limit = shown(lengths, room)
    assert sum(min(length, limit) for length in lengths) <= room
    assert limit == max(lengths) or sum(min(length, limit + 1) for length in lengths) > room


@given(st.integers(2, 400), st.integers(2, 50))
def test_groups_of_rivals_get_fewer(number: int, most: int) -> None:
    found = split(range(number), most)
    assert [index for group in found for index in group] == list(range(number))
    assert all(1 <= len(group) <= most for group in found)
    assert len(found) < number


async def test_of_a_best_of_group_one_is_kept_and_stays_so_in_later_stages(tmp_path: Path) -> None:
    def member(name: str, group: str) -> SubTask:
        return SubTask(id=name, title=name, instructions="x", group=group)

    plan = Plan(subtasks=(member("a", "g"), member("b", "g"), member("c", "q"), member("d", "q")), need={"q": 1})
    results = [result(name, value=[{"id": name}]) for name in "abcd"]

    class Words:
        async def merge(self, given: Harvest) -> Merged:
            return Merged(" ".join(r.subtask_id for r in given.useful))

    at = desk(prefers('"b"', '"a"'), tmp_path)
    rivals = [result("a", '"a"'), result("b", '"b"'), *results[2:]]
    merged = await BestOfAggregator(at, Words()).merge(harvest(*rivals, plan=plan))
    assert merged.text.startswith("b c d\n\ng: b is kept. 2 answers are even")
    assert merged.passed_over == {"a"}
    report = StageReport(1, plan, tuple(results), merged, None)
    table = await aggregator_for(at, None).merge(harvest(result("e", value=[{"id": "e"}]), earlier=(report,)))
    assert table.text.splitlines()[2:] == ["| b |", "| c |", "| d |", "| e |"]
