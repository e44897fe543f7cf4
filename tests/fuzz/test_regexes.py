"""Every regular expression of the product: what somebody else wrote makes none of them take its time squared."""

from __future__ import annotations

import re

import pytest

from tests.effort import LONG
from tests.fuzz.backtracking import MOST, deep_calls, may_go_back, order
from tests.fuzz.expressions import expressions

BOUNDED = {
    "swarm.embedded.repair.command:parse": "the test command, which is the user's own",
    "swarm.sandboxes.git.branch._IDENT": "a line of git's own about an author, without < or > in the name",
}
"""Those that may, and what bounds their time."""


def test_none_takes_its_time_squared() -> None:
    found = expressions()
    assert len(found) > 250, "they are not found any more"
    told = []
    with deep_calls():
        for each in found:
            if each.place not in BOUNDED and may_go_back(each.pattern, each.how):
                grown, text = order(each.pattern, each.how, attacks=60 if LONG else 5)
                if grown > MOST:
                    told.append(f"{each.place} ({each.how}): {grown:.1f} times for twice of {text}")
    assert not told, "\n".join(told)


@pytest.mark.parametrize(
    ("pattern", "how"),
    [
        (r"(a+)+$", "match"),
        (r"\s*[\w+-]*\s*", "fullmatch"),
        (r"(\d+) (\w+)", "findall"),
        (r"^[ \t]*from[ \t]+(\.*)[ \t]*([\w.]*)[ \t]+import", "search"),
        (r"(\d+(?:\.\d+)?)(ms|s|m|h)", "findall"),
        (r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$", "match"),
        (r"(?:a|aa)+$", "fullmatch"),
        (r"(.*)<(.*)>", "match"),
    ],
)
def test_the_count_sees_what_grows(pattern: str, how: str) -> None:
    with deep_calls():
        assert order(re.compile(pattern), how, attacks=60)[0] > MOST


@pytest.mark.parametrize(
    ("pattern", "how"),
    [
        (r"\s*+[\w+-]*+\s*", "fullmatch"),
        (r"(?<!\d)(\d++) (\w+)", "findall"),
        (r"[^<]*<[^>]*>", "match"),
        (r"(?:\\.|[^\\\"])*+\"", "match"),
        (r"a{0,9}a{0,9}b", "search"),
        (r"(?s)```[^\n`]*\n(.*?)```", "findall"),
    ],
)
def test_and_what_does_not(pattern: str, how: str) -> None:
    with deep_calls():
        assert order(re.compile(pattern), how, attacks=60)[0] <= MOST
