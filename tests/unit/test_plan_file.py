"""A plan as a file that a person edits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.cli.plan_file import read, written
from swarm.types import Plan, SubTask

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
IDS = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,5}", fullmatch=True)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    ids = draw(st.lists(IDS, min_size=1, max_size=3, unique_by=lambda name: name.lower()))
    subtasks = [
        SubTask(
            id=f"x{name}",
            title=draw(TEXT.filter(str.strip)),
            instructions=draw(TEXT.filter(str.strip)),
            system_prompt=draw(TEXT),
            depends_on=tuple(f"x{before}" for before in ids[:number]),
            kind=draw(TEXT),
            budget_share=draw(st.sampled_from([0.0, 0.25, 0.1])),
            result_schema=draw(st.sampled_from([None, {"type": "object", "default": None, "title": "'''\n\""}])),
        )
        for number, name in enumerate(ids)
    ]
    return Plan(rationale=draw(TEXT), subtasks=tuple(subtasks))


@settings(max_examples=100, deadline=None)
@given(plans())
def test_what_is_written_is_read_as_it_was(plan: Plan) -> None:
    assert read(written(plan), room=10) == (plan, [])
    assert read(written(plan, ["this\nis wrong"]), room=10) == (plan, [])


PLAN = Plan(
    rationale="two faults",
    subtasks=(
        SubTask(id="one", title="One", instructions="Do\n  one.\n", files=("a.py",)),
        SubTask(id="two", title="Two", instructions="Do two.", depends_on=("one",), group="g"),
    ),
    need={"g": 1},
)


def test_it_can_be_read_and_edited_by_hand() -> None:
    text = written(PLAN)
    assert "instructions = '''\nDo\n  one.\n'''" in text
    edited, wrong = read(text.replace("Do two.", "Do two, well."), room=10)
    assert (wrong, edited and edited.subtasks[1].instructions) == ([], "Do two, well.")
    assert edited is not None
    assert edited.subtasks[0] == PLAN.subtasks[0]


def test_a_mark_of_byte_order_and_single_brackets() -> None:
    assert read("\ufeff" + written(PLAN), room=10) == (PLAN, [])
    assert read("\ufeff# nothing\n", room=10) == (None, [])
    _, wrong = read("[subtasks]\nid = 'one'\n", room=10)
    assert wrong == ["subtasks: each stands under [[subtasks]], in two brackets"]


@pytest.mark.parametrize("text", ["", "\n \n", "# all of it\n# is a comment\n"])
def test_an_empty_file_is_a_no(text: str) -> None:
    assert read(text, room=10) == (None, [])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[[subtasks]]", "[[subtasks]", "no TOML"),
        ("title = ", "titel = ", "sub-task 1: titel: there is no such key; the nearest is 'title'"),
        ("rationale = ", "rational = ", "the nearest is 'rationale'"),
        ('depends_on = ["one"]', 'depends_on = ["none"]', "'none', which does not exist"),
        ('id = "two"', 'id = "one"', "given to 2 sub-tasks"),
        ('title = "Two"', 'title = ""', "sub-task 2 (two): title:"),
        ('files = ["a.py"]', "files = 7", "sub-task 1 (one): files:"),
        ('title = "Two"', "title = 'Two'\nresult_schema = '{'", "sub-task 2: result_schema: this is no JSON"),
        ('files = ["a.py"]', "files = " + "[" * 5_000, "this is no TOML: it is nested too deeply"),
        ('files = ["a.py"]', "files = 7", "files: a list is wanted"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, said: str) -> None:
    plan, wrong = read(written(PLAN).replace(old, new), room=10)
    assert plan is None
    assert said in "\n".join(wrong)


def test_no_more_sub_tasks_than_may_be_asked_for() -> None:
    assert read(written(PLAN), room=1)[0] is None
    assert read('rationale = "none"\n', room=1) == (None, ["it has no sub-task"])
