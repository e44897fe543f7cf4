"""On which node an attempt is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from swarm.executors.ray.placement import SPILL, Placement
from swarm.types import AgentLimits, AgentSpec, SubTask

PLACES = {"a": 8, "b": 8, "c": 16}


def spec(kind: str = "", base: str = "1234") -> AgentSpec:
    subtask = SubTask(id="s", title="s", instructions="do it")
    limits = AgentLimits(max_steps=3, timeout=60.0)
    return AgentSpec("s@1", subtask, 1, 1, 1, f"You are {kind}.", "do it", base, limits)


def placement(places: dict[str, int]) -> Placement:
    made = Placement()
    for node, slots in places.items():
        made.join(node, slots)
    return made


def place(made: Placement, *specs: AgentSpec) -> list[str]:
    nodes = []
    for each in specs:
        node = made.choose(each)
        assert node is not None
        made.took(node)
        nodes.append(node)
    return nodes


def test_all_slots_are_used_before_any_is_used_twice() -> None:
    assert Counter(place(placement(PLACES), *[spec()] * 32)) == PLACES


def test_where_all_are_full_the_load_stays_even() -> None:
    assert Counter(place(placement(PLACES), *[spec()] * 64)) == {"a": 16, "b": 16, "c": 32}


def test_likes_go_where_their_like_was_made() -> None:
    """As long as that node has not much more to do than the others."""
    made = placement({"a": 100, "b": 100})
    first = place(made, *[spec("one")] * 20, *[spec("two")] * 20)
    assert set(first) == {"a", "b"}
    warm = placement({"a": 100, "b": 100})
    place(warm, spec("one"), spec("two"), *[spec(f"other {n}") for n in range(18)])
    again = Counter(place(warm, *[spec("two")] * 4))
    assert max(again.values()) >= 3, "they are together"


@pytest.mark.parametrize("kinds", [1, 2, 7])
def test_no_node_has_much_more_than_its_share(kinds: int) -> None:
    made = placement({"a": 50, "b": 50, "c": 50, "d": 50})
    counts = Counter(place(made, *[spec(str(number % kinds)) for number in range(120)]))
    assert max(counts.values()) <= SPILL * 120 / 4 + 1


def test_another_commit_is_another_kind() -> None:
    made = placement({"a": 100, "b": 100})
    place(made, *[spec(str(number)) for number in range(16)])
    here = place(made, spec("x", base="1"))[0]
    made.gave(here)
    other = "b" if here == "a" else "a"
    made.took(here)
    assert place(made, spec("x", base="2")) == [other]
    assert place(made, spec("x", base="1")) == [here]


def lose(made: Placement) -> None:
    made.lost("a")
    made.lost("b")
    made.took("a")
    made.gave("a")


def leave(made: Placement) -> None:
    for node in place(made, *[spec()] * 32):
        made.gave(node)


@pytest.mark.parametrize(("change", "left"), [(lose, {"c"}), (leave, {"a", "b", "c"})])
def test_what_is_gone_is_not_chosen_and_what_is_free_is(change: Callable[[Placement], None], left: set[str]) -> None:
    made = placement(PLACES)
    change(made)
    assert set(place(made, *[spec()] * 32)) == left


def test_nobody_is_nobody() -> None:
    assert Placement().choose(spec()) is None
