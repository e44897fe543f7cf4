"""What somebody may write who means no good: documents bent out of shape, and a count of the work that they make."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from types import FrameType
from typing import Any

from hypothesis import strategies as st

DEEP = 10_000
"""Levels of nesting, more than any recursion takes."""

DIGITS = "9" * 5_000
"""More digits than Python makes a number of."""

JSON_TOKENS = (
    *("null", "true", "NaN", "-Infinity", "1e999", "-1", "0.0000000001", DIGITS, f"-{DIGITS}", f"1.{DIGITS}"),
    *('""', "[]", "{}", "[[]]", '"\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\\x41"', "'a'", '"', "\\", "{", "}"),
    *("[", "]", ",", ":", "/*", "//", "\ufeff", "\0", "\x1b[2J", "\u2028", "[" * DEEP, '{"a":' * DEEP, "]" * 50),
    *('{"a":1,"a":2}', '"' + "x" * 70_000 + '"', "[" + "0," * 500 + "0]"),
)
"""What stands where something else should."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1e300, float("inf"), float("nan"), 0.5, -0.0),
    *("", " ", "0", "a", "\0", "\n", "\r\n", "\x1b]0;x\x07", "\ud800", "\udcff", "\u202e", "é" * 300, "x" * 5_000),
    *("../../etc/passwd", "-rf", "{{x}}", "%s%n", "[redacted:x]", "2020-01-01T00:00:00Z", "1e999", DIGITS),
    *([], {}, [[]], [{}], {"": ""}, [None], {"type": "x"}, {"a": {"b": []}}, ["a"], [1], [[1, 2]] * 3),
)

BYTES = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf0\x9f", b"\r", b"\n", b"\r\n\r\n", b"\x1b[31m", b'"'),
    *(b"\\", b"\t", b" ", b"--", b"@@", b"9" * 5_000, b"-1", b"x" * 9_000, b"\n" * 300, b"\\9", b"\\377", b"'", b"`"),
)


def nested(opening: str = "[", closing: str = "]", inside: str = "", levels: int = DEEP) -> str:
    return opening * levels + inside + closing * levels


@st.composite
def mutated(draw: st.DrawFn, valid: Sequence[bytes], tokens: Sequence[bytes] = BYTES) -> bytes:
    """One of some documents, cut, said twice, put in another order, with bytes that belong elsewhere."""
    data = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.sampled_from((1, 2, 7, 40, 400)))
        match draw(st.integers(0, 6)):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + data[at + size :]
            case 2:
                data = data[:at] + data[at : at + size] * draw(st.sampled_from((2, 3, 50))) + data[at + size :]
            case 3:
                data = data[:at] + draw(st.sampled_from(tokens)) + data[at:]
            case 4:
                data = data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at + 1 :]
            case 5:
                lines = data.split(b"\n")
                one, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
                lines[one], lines[other] = lines[other], lines[one]
                data = b"\n".join(lines)
            case _:
                other_data = draw(st.sampled_from(valid))
                data = data[:at] + other_data[draw(st.integers(0, len(other_data))) :]
    return data


def texts(valid: Sequence[str], tokens: Sequence[str] = JSON_TOKENS) -> st.SearchStrategy[str]:
    """As `mutated`, of texts: also halves of characters."""
    return mutated(
        [each.encode("utf-8", "surrogatepass") for each in valid],
        (*BYTES, *(each.encode("utf-8", "surrogatepass") for each in tokens)),
    ).map(lambda data: data.decode("utf-8", "surrogateescape"))


@st.composite
def bent(draw: st.DrawFn, valid: Sequence[Any]) -> Any:
    """One of some values of JSON, with parts that are gone, of another type, or at another place."""
    whole = deepcopy(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(whole, ()))
        if not places:
            return deepcopy(draw(st.sampled_from(VALUES)))
        place = draw(st.sampled_from(places))
        holder = _at(whole, place[:-1])
        match draw(st.integers(0, 3)):
            case 0 | 1:
                holder[place[-1]] = deepcopy(draw(st.sampled_from(VALUES)))
            case 2:
                del holder[place[-1]]
            case _:
                other = _at(whole, draw(st.sampled_from(places)))
                holder[place[-1]] = deepcopy(other)  # no value may hold itself
    return whole


def bent_json(valid: Sequence[Any]) -> st.SearchStrategy[str]:
    """As `bent`, written down, numbers that are none and halves of characters as well."""
    return bent(valid).map(lambda value: json.dumps(value, ensure_ascii=False))


def _places(value: Any, before: tuple[Any, ...]) -> Any:
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    else:
        return
    for key, inner in pairs:
        yield (*before, key)
        yield from _places(inner, (*before, key))


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def steps(run: Callable[[], object]) -> int:
    """How many lines of Python a call takes: the same on every machine. What C does of it is not seen."""
    count = 0

    def seen(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return seen

    before = sys.gettrace()
    sys.settrace(seen)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def grows_in_step(make: Callable[[int], Callable[[], object]], size: int = 60) -> bool:
    """Whether twice as much to read takes about twice the work, and no more."""
    few, many = steps(make(size)), steps(make(size * 2))
    return many <= 2.6 * few + 200


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """A watchdog for what may hang: far more time than the work takes on any machine."""

    def bark(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it does not come to its end: {frame}")

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
