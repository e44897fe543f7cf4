"""`swarm.values`: what is written for all of them once is as what `dataclasses` writes for each."""

from __future__ import annotations

import copy
import pickle
from dataclasses import asdict, dataclass, field, fields, replace

import pytest

from swarm.values import value


@value(frozen=True, slots=True)
class Pair:
    """Two, and what does not count."""

    one: int
    two: list[str] = field(default_factory=list)
    aside: object = field(default=None, compare=False, repr=False)


@value(frozen=True, slots=True)
class Single:
    one: object


@value(frozen=True, slots=True)
class Nothing:
    """No field at all."""


@value(frozen=False, slots=True)
class Counted:
    number: int = 0


@value(frozen=True, slots=True)
class Own:
    """With a word of its own in all three."""

    one: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own)

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "own"


@dataclass(frozen=True, slots=True)
class Plain:
    """As `Pair`, by `dataclasses` alone."""

    one: int
    two: list[str] = field(default_factory=list)
    aside: object = field(default=None, compare=False, repr=False)


def test_they_are_equal_by_what_counts_and_only_to_their_own_kind() -> None:
    assert Pair(1, ["a"], 2) == Pair(1, ["a"], 3)
    assert Pair(1, ["a"]) != Pair(1, ["b"])
    others: list[object] = [Counted(1), 1, (1,)]
    assert Single(1) not in others
    nan = float("nan")
    assert Single(nan) == Single(nan)
    assert Nothing() == Nothing()
    assert hash(Single("a")) == hash(Single("a"))
    assert len({Single(1), Single(1), Single(2), Nothing(), Nothing()}) == 3
    with pytest.raises(TypeError, match="unhashable"):
        hash(Counted(1))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Pair(1))


def test_they_are_shown_as_ever() -> None:
    assert repr(Pair(1, ["a"], 2)) == repr(Plain(1, ["a"], 2)).replace("Plain", "Pair")
    assert repr(Nothing()) == "Nothing()"
    loop: list[object] = []
    held = Single(loop)
    loop.append(held)
    assert repr(held) == "Single(one=[...])"


def test_words_of_their_own_stay() -> None:
    assert Own(1) == Own(2)
    assert (hash(Own(1)), repr(Own(1))) == (7, "own")


def test_they_are_dataclasses() -> None:
    one = Pair(1, ["a"])
    assert replace(one, one=2) == Pair(2, ["a"])
    assert asdict(one) == {"one": 1, "two": ["a"], "aside": None}
    assert [each.name for each in fields(one)] == ["one", "two", "aside"]
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert not hasattr(one, "__dict__")
    match one:
        case Pair(number, [letter]):
            assert (number, letter) == (1, "a")
        case _:
            pytest.fail("its fields have no order")


def test_nothing_is_written_for_one_of_them_but_how_it_is_made() -> None:
    """What is compiled for a class costs, each time that a process starts."""
    for name in ("__eq__", "__hash__", "__repr__"):
        assert getattr(Single, name) is getattr(Nothing, name)
    assert Single.__setattr__ is object.__setattr__
    assert Plain.__eq__ is not Single.__eq__
