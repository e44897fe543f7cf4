"""The tree of merges: every source is in the answer, or is named as missing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.aggregators.reduction import groups, pieces, read_answer
from swarm.aggregators.text import TextAggregator
from swarm.budgets.levels import Limits
from swarm.calls import ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.events import AgentStarted, Notice
from swarm.stages import Merged, StageReport
from swarm.testing import Answer, RecordingSink, Turn
from swarm.types import Outcome
from tests.unit.desks import desk, harvest, requests, result

pytestmark = pytest.mark.anyio
MANY = [result(f"t{n:02}", f"fact-{n:02} " + "x" * 700) for n in range(20)]


def user_text(request: ModelRequest) -> str:
    return str(request.messages[1]["content"])


def sources_in(request: ModelRequest) -> list[str]:
    return user_text(request).rpartition("are: ")[2].split(", ")


def facts_in(text: str) -> list[str]:
    return re.findall(r"fact-\d\d", text)


async def keeps_all(request: ModelRequest) -> Turn:
    """An honest merge."""
    return f"{' '.join(facts_in(user_text(request)))}\n\nSources: {', '.join(sources_in(request))}"


def loses(*lost: str) -> Answer:
    """A merge that never gets some sources in."""

    def answer(request: ModelRequest) -> Turn:
        named = [source for source in sources_in(request) if source not in lost]
        return f"{' '.join(facts_in(user_text(request)))}\n**Sources:** {', '.join(f'`{name}`' for name in named)}."

    return answer


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=40), st.integers(1, 2500))
def test_groups_hold_all_parts_in_order_and_get_fewer(sizes: list[int], room: int) -> None:
    parts = [part for n, size in enumerate(sizes) for part in pieces(f"s{n}", "t", "x" * size, max(1, room // 2))]
    found = groups(parts, room)
    assert [part for group in found for part in group] == parts
    assert len(found) < len(parts) or len(parts) == 1
    assert all(sum(len(part.text) for part in group) <= room or len(group) == 2 for group in found)


@given(st.text(alphabet="ab \n", max_size=200), st.integers(1, 50))
def test_the_pieces_of_a_text_are_the_text(text: str, room: int) -> None:
    parts = pieces("s", "t", text, room)
    assert "".join(part.text for part in parts) == text
    assert all(len(part.text) <= room for part in parts)
    assert len({source for part in parts for source in part.sources}) == len(parts)


@given(st.text())
def test_any_answer_can_be_read(text: str) -> None:
    rest, named = read_answer(text, ["a"])
    assert rest in text
    assert set(named) <= {"a"}


async def test_a_tree_of_merges_covers_every_source_in_order() -> None:
    at = desk(keeps_all, merge_tokens=1000)
    merged = await TextAggregator(at).merge(harvest(*MANY))
    assert facts_in(merged.text) == [f"fact-{n:02}" for n in range(20)]
    assert "Not shown" not in merged.text
    sink = at.sink
    assert isinstance(sink, RecordingSink)
    names = [event.trajectory_id for event in sink.of(AgentStarted)]
    assert len(names) == len(set(names)) > 5
    assert "aggregator-1" in names  # the last one
    assert "aggregator-1.2.1" in names or len(names) < 7
    assert all(len(user_text(request)) < 4000 for request in requests(at))


async def test_what_a_merge_loses_is_asked_for_once_and_then_named() -> None:
    at = desk(loses("b"))
    merged = await TextAggregator(at).merge(harvest(result("a", "fact-01"), result("b"), result("c")))
    assert merged.text.endswith("Not shown to be covered by this answer: b. The run's record holds their results.")
    first, second = requests(at)
    assert "does not name: b." in second.messages[-1]["content"]
    assert first.messages == second.messages[:2]


async def test_a_correction_that_mends_it_is_taken() -> None:
    at = desk(["half\nSources: a", "whole\nSources: a, b"])
    assert (await TextAggregator(at).merge(harvest(result("a"), result("b")))).text == "whole"
    at = desk(["half\nSources: a", EndpointError(EndpointFault.REFUSED, "no")])
    assert (await TextAggregator(at).merge(harvest(result("a"), result("b")))).text.startswith("half\n\nNot shown")


async def test_a_merge_that_fails_leaves_its_texts_side_by_side() -> None:
    async def refuses(request: ModelRequest) -> Turn:
        if "fact-00" in user_text(request):
            return EndpointError(EndpointFault.REFUSED, "not this one")
        return await keeps_all(request)

    at = desk(refuses, merge_tokens=1000)
    merged = await TextAggregator(at).merge(harvest(*MANY))
    assert sorted(facts_in(merged.text)) == [f"fact-{n:02}" for n in range(20)]
    assert merged.text.startswith("## t00 (do t00)\n\nfact-00 xxx")
    assert isinstance(at.sink, RecordingSink)
    assert "t00, t01" in at.sink.of(Notice)[0].message


async def test_a_budget_that_ends_in_the_middle_gives_what_is_there() -> None:
    at = desk(keeps_all, merge_tokens=1000, limits=Limits(steps=3))
    merged = await TextAggregator(at).merge(harvest(*MANY))
    assert sorted(facts_in(merged.text)) == [f"fact-{n:02}" for n in range(20)]
    assert len(requests(at)) == 3
    assert facts_in(merged.text) == sorted(facts_in(merged.text))


async def test_a_window_that_is_smaller_than_thought_is_found_out() -> None:
    async def small(request: ModelRequest) -> Turn:
        if len(user_text(request)) > 3000:
            return EndpointError(EndpointFault.CONTEXT_TOO_LONG, "too long")
        return await keeps_all(request)

    merged = await TextAggregator(desk(small)).merge(harvest(*MANY))
    assert facts_in(merged.text) == [f"fact-{n:02}" for n in range(20)]
    assert "##" not in merged.text


async def test_a_result_longer_than_a_call_is_read_in_parts() -> None:
    long = "\n".join(f"fact-{n:02} " + "y" * 500 for n in range(30))
    at = desk(keeps_all, merge_tokens=1000)
    merged = await TextAggregator(at).merge(harvest(result("a", long), result("b", "fact-99")))
    assert facts_in(merged.text) == [*(f"fact-{n:02}" for n in range(30)), "fact-99"]


async def test_later_stages_build_on_the_answer_so_far_and_little_is_not_merged() -> None:
    at = desk(keeps_all)
    alone = harvest(result("a", "fact-01"), result("b", outcome=Outcome.FAILED))
    first = await TextAggregator(at).merge(alone)
    assert (first.text, requests(at)) == ("fact-01", [])
    report = StageReport(1, alone.plan, alone.results, first, None)
    second = await TextAggregator(at).merge(harvest(result("c", "fact-02"), earlier=(report,)))
    assert (second.text, second.whole) == ("fact-01 fact-02", True)
    nothing = harvest(result("d", outcome=Outcome.FAILED), earlier=(report,))
    assert (await TextAggregator(at).merge(nothing)).text == "fact-01"


async def test_the_failures_of_a_stage_are_no_source_of_the_next() -> None:
    at = desk(keeps_all)
    failed = harvest(result("a", "fact-66", outcome=Outcome.FAILED))
    first = await TextAggregator(at).merge(failed)
    assert first.void
    assert first.text.startswith("There is no answer: no sub-task came to a result of use.\n\n## do a (failed)")
    report = StageReport(1, failed.plan, failed.results, first, None)
    second = await TextAggregator(at).merge(harvest(result("b", "fact-01"), earlier=(report,)))
    assert (second.text, second.void, requests(at)) == ("fact-01", False, [])


async def test_stopped_merges_give_way() -> None:
    at = desk(keeps_all)
    at.stop.set()
    merged = await TextAggregator(at).merge(harvest(result("a", "fact-01"), result("b", "fact-02")))
    assert merged == Merged("## a (do a)\n\nfact-01\n\n## b (do b)\n\nfact-02", whole=True)
