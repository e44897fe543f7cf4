"""Whoever imports something from `swarm`, or reads a record, is told what it is."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest

import swarm
from swarm.events import Event


def told(found: object) -> str:
    """Its own words: a dataclass without any is given its signature for them, a model those of pydantic."""
    words = str(vars(found).get("__doc__") or "") if inspect.isclass(found) else str(getattr(found, "__doc__", ""))
    return "" if inspect.isclass(found) and words.startswith(f"{found.__name__}(") else words


@pytest.mark.parametrize("name", [name for name in swarm.__all__ if not name.startswith("__")])
def test_what_is_imported_says_what_it_is(name: str) -> None:
    found = getattr(swarm, name)
    if inspect.isclass(found) or inspect.isfunction(found):
        assert told(found).strip()
        for member, value in vars(found).items() if inspect.isclass(found) else ():
            if not member.startswith("_") and inspect.isfunction(value):
                assert (value.__doc__ or "").strip(), f"{name}.{member}"


def test_records_say_what_they_are() -> None:
    union = get_args(Event)[0] if get_args(Event) else Event
    kinds = get_args(union) or get_args(Event)
    assert len(kinds) > 20
    assert [kind.__name__ for kind in kinds if not told(kind).strip()] == []
