"""How many steps a regular expression takes, counted by going its way: the same on every machine.

It tries as Python's engine does, one alternative after the other, without the engine's shortcuts, which change a
figure and not how it grows.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from re import _constants as op  # type: ignore[attr-defined]  # there is no public way to the parts of a pattern
from re import _parser as parser  # type: ignore[attr-defined]  # as above
from typing import Any

TOO_MANY = 30_000
"""Steps after which it is given up."""

MOST = 3.0
"""Times the steps for twice the length: between what grows in proportion and what grows with the square."""

_SUSPECT = 2.6
_FEW = 20
"""Repetitions that are as good as a number of them written out."""

Then = Callable[[int], bool]


class Endless(Exception):
    """It takes more steps than are worth counting."""


class Walk:
    """One pattern on one text. `steps` is what it took."""

    def __init__(self, pattern: re.Pattern[Any], text: str) -> None:
        self.steps = 0
        self._text = text
        self._flags = pattern.flags
        self._tree = list(tree_of(pattern))
        self._groups: dict[int, tuple[int, int]] = {}

    def run(self, how: str) -> None:
        """As the methods of a pattern: `match`, `fullmatch`, `search`, `finditer` and those that are like it."""
        if how in ("match", "fullmatch"):
            end = len(self._text)
            self._seq(self._tree, 0, 0, (lambda at: at == end) if how == "fullmatch" else (lambda at: True))
            return
        at = 0
        while at <= len(self._text):
            found = -1

            def taken(end: int) -> bool:
                nonlocal found
                found = end
                return True

            if self._seq(self._tree, 0, at, taken):
                if how == "search":
                    return
                at = max(found, at + 1)
            else:
                at += 1

    def _step(self) -> None:
        self.steps += 1
        if self.steps > TOO_MANY:
            raise Endless

    def _seq(self, parts: list[Any], n: int, at: int, then: Then) -> bool:
        self._step()
        if n == len(parts):
            return then(at)
        kind, value = parts[n]
        return self._part(kind, value, at, lambda end: self._seq(parts, n + 1, end, then))

    def _part(self, kind: Any, value: Any, at: int, then: Then) -> bool:
        if kind in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
            return at < len(self._text) and self._is(kind, value, self._text[at]) and then(at + 1)
        if kind is op.AT:
            return self._place(value, at) and then(at)
        if kind is op.BRANCH:
            return any(self._seq(list(each), 0, at, then) for each in value[1])
        if kind is op.SUBPATTERN:
            return self._group(value, at, then)
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            return self._repeat(value, at, then, lazy=kind is op.MIN_REPEAT)
        if kind in (op.POSSESSIVE_REPEAT, op.ATOMIC_GROUP):
            return self._once(kind, value, at, then)
        if kind in (op.ASSERT, op.ASSERT_NOT):
            direction, inner = value
            begin = at if direction > 0 else at - inner.getwidth()[0]
            seen = begin >= 0 and self._seq(list(inner), 0, begin, lambda end: direction > 0 or end == at)
            return seen == (kind is op.ASSERT) and then(at)
        if kind is op.GROUPREF:
            first, last = self._groups.get(value, (0, -1))
            said = self._text[first:last]
            return last >= 0 and self._text.startswith(said, at) and then(at + len(said))
        raise NotImplementedError(str(kind))

    def _group(self, value: Any, at: int, then: Then) -> bool:
        number, _, _, inner = value
        before = self._groups.get(number)

        def closed(end: int) -> bool:
            if number is not None:
                self._groups[number] = (at, end)
            return then(end)

        if self._seq(list(inner), 0, at, closed):
            return True
        if before is None:
            self._groups.pop(number, None)
        else:
            self._groups[number] = before
        return False

    def _repeat(self, value: Any, at: int, then: Then, *, lazy: bool) -> bool:
        least, most, inner = value
        parts = list(inner)
        if len(parts) == 1 and parts[0][0] in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
            end = at
            while end < len(self._text) and end - at < most and self._is(parts[0][0], parts[0][1], self._text[end]):
                if lazy and end - at >= least and then(end):
                    return True
                end += 1
                self._step()
            ends = range(max(at + least, end) if lazy else at + least, end + 1)
            return any(then(each) for each in reversed(ends))

        def again(count: int, place: int) -> bool:
            self._step()
            if lazy and count >= least and then(place):
                return True
            if count < most and self._seq(
                parts, 0, place, lambda end: (end != place or count < least) and again(count + 1, end)
            ):
                return True
            return not lazy and count >= least and then(place)

        return again(0, at)

    def _once(self, kind: Any, value: Any, at: int, then: Then) -> bool:
        """A part that is never gone back into."""
        least, most, inner = value if kind is op.POSSESSIVE_REPEAT else (1, 1, value)
        count, place = 0, at
        while count < most:
            end = self._end_of(list(inner), place)
            if end is None or end == place:
                count += end is not None
                break
            place, count = end, count + 1
        return count >= least and then(place)

    def _end_of(self, parts: list[Any], at: int) -> int | None:
        found: int | None = None

        def ended(end: int) -> bool:
            nonlocal found
            found = end
            return True

        self._seq(parts, 0, at, ended)
        return found

    def _is(self, kind: Any, value: Any, char: str) -> bool:
        if kind is op.ANY:
            return char != "\n" or bool(self._flags & re.DOTALL)
        if kind is op.LITERAL or kind is op.NOT_LITERAL:
            return self._same(value, char) == (kind is op.LITERAL)
        negated = any(each is op.NEGATE for each, _ in value)
        return any(self._in(each, what, char) for each, what in value if each is not op.NEGATE) != negated

    def _same(self, code: int, char: str) -> bool:
        return chr(code) == char or bool(self._flags & re.IGNORECASE and chr(code).lower() == char.lower())

    def _in(self, kind: Any, what: Any, char: str) -> bool:
        if kind is op.LITERAL:
            return self._same(what, char)
        if kind is op.RANGE:
            other = char.swapcase() if self._flags & re.IGNORECASE and len(char.swapcase()) == 1 else char
            return any(what[0] <= ord(each) <= what[1] for each in (char, other))
        name = str(what)
        is_so = char.isdigit() if "DIGIT" in name else char.isspace() if "SPACE" in name else is_word(char)
        return is_so != ("NOT" in name)

    def _place(self, where: Any, at: int) -> bool:
        text, name = self._text, str(where)
        if name in ("AT_BEGINNING", "AT_BEGINNING_STRING", "AT_BEGINNING_LINE"):
            lines = name == "AT_BEGINNING" and self._flags & re.MULTILINE
            return at == 0 or bool(lines and text[at - 1] == "\n")
        if name == "AT_END_STRING":
            return at == len(text)
        if name == "AT_END":
            last = at == len(text) or (at == len(text) - 1 and text[at] == "\n")
            return last or bool(self._flags & re.MULTILINE and text[at] == "\n")
        before, after = at > 0 and is_word(text[at - 1]), at < len(text) and is_word(text[at])
        return (before != after) == (name == "AT_BOUNDARY")


def is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def tree_of(pattern: re.Pattern[Any]) -> Any:
    """The parts of a pattern."""
    if isinstance(pattern.pattern, bytes):
        return parser.parse(pattern.pattern.decode("latin-1"), pattern.flags & ~re.LOCALE)
    return parser.parse(pattern.pattern, pattern.flags)


def order(pattern: re.Pattern[Any], how: str, attacks: int) -> tuple[float, str]:
    """By how much the steps grow where what is to be read becomes twice as long: 2 is in proportion, 4 with the square.
    At the first of the texts that the pattern suggests at which it is more than `MOST`; and what that text is."""
    worst, what = 0.0, ""
    for prefix, pump in _attacks(pattern)[:attacks]:
        for end in ("\0", ""):
            if worst > MOST:
                return worst, what
            attack = (pattern, how, prefix, pump, end)
            grown = _grown(*attack, size=24)
            if grown > max(worst, _SUSPECT):
                grown = _grown(*attack, size=120)  # what has a bound of its own has met it here
            if grown > worst:
                worst, what = grown, f"{prefix!r}, then {pump!r} again and again, then {end!r}"
    return worst, what


def _grown(pattern: re.Pattern[Any], how: str, prefix: str, pump: str, end: str, *, size: int) -> float:
    times = -(-size // len(pump))
    few = _steps(pattern, how, prefix + pump * times + end)
    if few < size * 3:  # less than any way back would take
        return 0.0
    base = _steps(pattern, how, prefix + end)
    more = _steps(pattern, how, prefix + pump * (2 * times) + end)
    return float("inf") if more == TOO_MANY else (more - base) / max(1, few - base)


def may_go_back(pattern: re.Pattern[Any], how: str) -> bool:
    """Whether there is anything to count: without two repetitions that have no end, or one and many places to begin
    at, the steps are in proportion."""
    return _endless(tree_of(pattern)) + (how not in ("match", "fullmatch")) > 1


def _endless(tree: Any) -> int:
    found = 0
    for kind, value in tree:
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            found += (int(value[1]) > _FEW) * (1 + _endless(value[2])) + _endless(value[2])
        elif kind is op.SUBPATTERN:
            found += _endless(value[3])
        elif kind in (op.ASSERT, op.ASSERT_NOT):
            found += _endless(value[1])
        elif kind is op.ATOMIC_GROUP:
            found += _endless(value)
        elif kind is op.BRANCH:
            found += max((_endless(each) for each in value[1]), default=0)
    return found


def _steps(pattern: re.Pattern[Any], how: str, text: str) -> int:
    walk = Walk(pattern, text)
    try:
        walk.run(how)
    except Endless:
        return TOO_MANY
    return walk.steps


@contextmanager
def deep_calls() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(30_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _attacks(pattern: re.Pattern[Any]) -> list[tuple[str, str]]:
    """Beginnings that fit, and what to repeat after them: first what each endless part takes, where it begins."""
    chance = random.Random(repr(pattern.pattern))
    tree, found, samples = tree_of(pattern), list[tuple[str, str]](), list[str]()
    for _ in range(4):
        met: list[tuple[str, str]] = []
        samples.append(_sample(tree, chance, "", met))
        found += met
        found += [("", pump) for _, pump in met]
    for sample in samples:
        for _ in range(4):
            at = chance.randrange(len(sample) + 1)
            found.append((chance.choice(("", sample[:at])), sample[at : at + chance.choice((1, 2, 3, 6))]))
    return [(prefix, pump) for prefix, pump in dict.fromkeys(found) if pump and len(pump) <= 30]


def _sample(tree: Any, chance: random.Random, out: str, met: list[tuple[str, str]]) -> str:
    """`out`, and then a text that fits a pattern, or nearly. `met` gets the parts that may be repeated for ever."""
    for kind, value in tree:
        if kind is op.LITERAL:
            out += chr(value)
        elif kind is op.NOT_LITERAL:
            out += "a" if value != ord("a") else "b"
        elif kind is op.ANY:
            out += chance.choice("a 0")
        elif kind is op.IN:
            out += _one_of(value, chance)
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            if int(value[1]) > _FEW:
                met.append((out, _sample(value[2], chance, out, [])[len(out) :]))
            for _ in range(min(int(value[1]), int(value[0]) + chance.choice((0, 1, 2)))):
                out = _sample(value[2], chance, out, met)
        elif kind is op.SUBPATTERN:
            out = _sample(value[3], chance, out, met)
        elif kind is op.ATOMIC_GROUP:
            out = _sample(value, chance, out, met)
        elif kind is op.BRANCH:
            out = _sample(chance.choice(value[1]), chance, out, met)
    return out


def _one_of(members: Any, chance: random.Random) -> str:
    walk = Walk(re.compile(""), "")
    fitting = [char for char in "a0 -_.x,;\t\nA:/\\\"'`|[{(<" if walk._is(op.IN, members, char)]
    fitting += [chr(what) for kind, what in members if kind is op.LITERAL and walk._is(op.IN, members, chr(what))]
    fitting += [chr(what[0]) for kind, what in members if kind is op.RANGE and walk._is(op.IN, members, chr(what[0]))]
    return chance.choice(fitting or ["a"])
