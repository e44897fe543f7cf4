"""Tables: rows read out of results, and their union, in which nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.aggregators.rows import Cells, plain, rows_of, structured_rows, text_rows
from swarm.aggregators.union import Table, folded, unite
from swarm.types import AgentResult, JsonObject, Outcome

NAMES = st.sampled_from(["id", "Id", "name", "the_year", "The Year", "b"])
TEXTS = st.sampled_from(["", "a", "A", "b", "1", "x|y", "two  words"]).map(plain)
ROWS = st.lists(st.tuples(st.sampled_from(["s1", "s2", "s3"]), st.dictionaries(NAMES, TEXTS, max_size=4)), max_size=12)
KEYS = st.sampled_from([(), ("id",), ("ID", "the year")])


def content(table: Table) -> JsonObject:
    """What a table says, apart from the order and the way names are written."""
    return {"rows": table.rows, "columns": set(table.columns)}


def holds(table: Table, source: str, cells: Cells) -> bool:
    return any(
        all(source in row.get(folded(name), {}).get(text, set()) for name, text in cells.items() if text)
        for row in table.rows.values()
    )


@given(ROWS, KEYS)
def test_no_row_is_lost_and_each_cell_knows_its_source(rows: list[tuple[str, Cells]], key: tuple[str, ...]) -> None:
    table = unite(rows, key)
    for source, cells in rows:
        assert holds(table, source, cells) or not any(cells.values())
    said = {(folded(name), text) for _, cells in rows for name, text in cells.items() if text}
    assert {(c, text) for row in table.rows.values() for c, cell in row.items() for text in cell} == said


@given(ROWS, KEYS, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_of_unions_does_not_matter(
    rows: list[tuple[str, Cells]], key: tuple[str, ...], chance: object
) -> None:
    whole = unite(rows, key)
    shuffled = list(rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives it no type of its own
    assert content(unite(shuffled, key)) == content(whole)
    first, second = unite(rows[: len(rows) // 2], key), unite(rows[len(rows) // 2 :], key)
    first.join(second)
    assert content(first) == content(whole)


@given(ROWS, KEYS)
def test_a_union_with_itself_changes_nothing(rows: list[tuple[str, Cells]], key: tuple[str, ...]) -> None:
    table, once = unite(rows, key), unite(rows, key)
    table.join(unite(rows, key))
    assert content(table) == content(once)
    assert (table.markdown(), table.json()) == (once.markdown(), once.json())


@given(st.lists(st.fixed_dictionaries({"id": st.text(min_size=1), "note": st.text()}), max_size=6))
def test_what_is_written_as_markdown_is_read_again(items: list[JsonObject]) -> None:
    table = unite([("s", row) for row in structured_rows(items)])
    again = unite([("s", row) for row in text_rows(table.markdown())])
    escaped = any("\\" in text for row in table.rows.values() for cell in row.values() for text in cell)
    assert escaped or again.rows == table.rows


def test_a_row_of_dashes_is_a_row() -> None:
    rows = text_rows("| A | B |\n|---|---|\n| 1 | 2 |\n| - | - |\n| 3 | 4 |\n")
    assert rows == [{"A": "1", "B": "2"}, {"A": "-", "B": "-"}, {"A": "3", "B": "4"}]
    for rule in ("|---|---|", "|:-|-:|"):
        assert text_rows(f"| A | B |\n|-|-|\n| 1 | 2 |\n| C | D |\n{rule}\n| 3 | 4 |\n") == [
            rows[0],
            {"C": "3", "D": "4"},
        ]


def test_conflicts_are_kept_with_their_sources() -> None:
    rows = [
        ("one", {"City": "Bonn", "people": "336000"}),
        ("two", {"city": "bonn", "people": "327000", "river": "Rhine"}),
        ("three", {"city": "Bonn", "people": "336000"}),
        ("three", {"people": "5"}),
    ]
    table = unite(rows, ["city"])
    assert table.markdown().splitlines() == [
        "| City | people | river |",
        "| --- | --- | --- |",
        "| Bonn | 336000 / 327000 | Rhine |",
        "|  | 5 |  |",
    ]
    (conflict,) = table.json()["conflicts"]
    assert conflict["values"] == [
        {"value": "336000", "sources": ["one", "three"]},
        {"value": "327000", "sources": ["two"]},
    ]


FENCED = 'Found:\n```json\n{"rows": [{"a": 1, "b": null}, {"a": true}]}\n```\n'
PIPED = "| a | a | |\n|:--|---|--|\n| x \\| y | 2 | 3 | 4 |\n\nafter"


@pytest.mark.parametrize(
    ("text", "result", "rows"),
    [
        (FENCED, None, [{"a": "1"}, {"a": "true"}]),
        (PIPED, None, [{"a": "x | y", "a 2": "2", "column 3": "3", "column 4": "4"}]),
        ('[{"a": [1, 2]}]', None, [{"a": "[1, 2]"}]),
        ("nothing | here", None, []),
        ("{not json", None, []),
        (PIPED, {"found": [{"k": "v"}], "note": "n"}, [{"k": "v"}]),
        ("", {"k": "v", "empty": ""}, [{"k": "v"}]),
        ("", ["x"], []),
    ],
)
def test_rows_are_found_in_structured_results_and_in_texts(text: str, result: object, rows: Sequence[Cells]) -> None:
    given_result = AgentResult("s", "s", Outcome.COMPLETED, text, "submitted", result=result)
    assert rows_of(given_result) == list(rows)
