"""Answers taken apart into claims and their sources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.documents.claims import claims_of, sources_in
from swarm.documents.passages import LONGEST_LINE, passages_of, text_of
from swarm.embedded.documents.shown import Ranking, sentences

MARKS = st.sampled_from(
    ["[d1:3-4]", "[d1:p2; d2:7]", "[no source]", "[unsupported: d1:3: x]", "|", "\n", "- ", "```\n"]
)
WORDS = st.text('ab1 .:[]d-\n"', max_size=30)


@pytest.mark.parametrize(
    ("written", "places"),
    [
        ("[d3:120-145]", [("d3", 120, 145, False)]),
        ("[d3:p12]", [("d3", 12, 12, True)]),
        ("[d3: pages 4-5; log.md:7]", [("d3", 4, 5, True), ("log.md", 7, 7, False)]),
        ("[d3:1-2, 9]", [("d3", 1, 2, False), ("d3", 9, 9, False)]),
        ("[d5]", [("d5", 0, 0, False)]),
        ("[d1:3, d2:5]", [("d1", 3, 3, False), ("d2", 5, 5, False)]),
        ("at [10:45] and [2020-01-01 10:45:12]", []),
        ("[a link](d1:3) [see below] [1] [unsupported: d1:3]", []),
    ],
)
def test_the_forms_of_a_source(written: str, places: list[tuple[str, int, int, bool]]) -> None:
    found = sources_in(f"It is so {written}.")
    assert [(each.document, each.first, each.last, each.paged) for each in found] == places


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("The tower is high and old. [d1:3]", []),
        ("The tower is high and old.", ["The tower is high and old"]),
        ("Built 1871.", ["Built 1871"]),
        ("It is high and old [d1:3]. It was built by nobody at all.", ["It was built by nobody at all"]),
        ("# All the old towers\n\nWhat is known:\n\n- it is very old [d1:3]\n- it is very tall", ["it is very tall"]),
        ("| Name | Height |\n| --- | --- |\n| A | 4 m [d1:3] |\n| B | 5 m |", ["B | 5 m"]),
        ("```python\nthis is a program and no claim\n```", []),
        ("```markdown\nthis is a claim all the same\n```", ["this is a claim all the same"]),
        ("```python\nnobody closes this one here", ["nobody closes this one here"]),
        ("1871.", ["1871"]),
        ("The keepers of the old tower [d1:3]:\n\n- Ada Holm\n- Bo Lind [d1:4]", ["Ada Holm"]),
        ("- all the old towers\n  - it is old [d1:3]", []),
        ("| Name | Built |\n| --- | --- |\n| A [d1:3] | 1871 |", ["1871"]),
        ("**What is known**\n\nIt is very old [d1:3].", []),
    ],
)  # fmt: skip
def test_what_stands_without_a_source(text: str, without: list[str]) -> None:
    assert [claim.text for claim in claims_of(text) if not claim.sources] == without


@pytest.mark.parametrize("text", ["# Its height [d9:3]", "It was built by [d9:3]:\n\n- it is old [d1:3]"])
def test_a_source_is_looked_at_wherever_it_stands(text: str) -> None:
    assert "d9" in [source.document for claim in claims_of(text) for source in claim.sources]


def test_the_policy_fills_no_cell_from_another_item() -> None:
    found = sentences(["[d1:1-2] a.md\n     1\tThe harbour of Hollin is Reed Harbour.\n     2\tHollin is green."])
    assert [each.source for each in Ranking(found).best("Harbour", "Hollin")] == ["[d1:1]"]
    assert Ranking(found).best("Harbour", "Dunmere") == []


@given(st.lists(st.one_of(MARKS, WORDS), max_size=30).map("".join))
def test_claims_lie_in_the_text_one_after_the_other(text: str) -> None:
    at = 0
    for claim in claims_of(text):
        assert at <= claim.start <= claim.end <= len(text)
        at = claim.end


@given(st.lists(st.text(max_size=80), max_size=6), st.booleans())
def test_passages_hold_each_line_that_says_something_once(pages: list[str], paged: bool) -> None:
    text = text_of(pages, paged=paged)
    held = [number for each in passages_of(text) for number in range(each.first, each.last + 1)]
    assert held == sorted(set(held))
    assert {number for number, line in enumerate(text.lines, 1) if line.strip()} <= set(held)
    for each in passages_of(text):
        assert each.text.split("\n") == list(text.lines[each.first - 1 : each.last])
        assert not paged or each.page == sum(start <= each.first for start in text.pages)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 1500)), max_size=12))
def test_a_long_line_is_broken_and_loses_nothing(words: list[tuple[str, int]]) -> None:
    line = " ".join(letter * length for letter, length in words)
    lines = text_of([line], paged=False).lines
    assert "".join(lines).replace(" ", "") == line.replace(" ", "")
    assert all(len(each) <= LONGEST_LINE for each in lines)
    assert len(lines) <= 1 + len(line) // (LONGEST_LINE // 2)
