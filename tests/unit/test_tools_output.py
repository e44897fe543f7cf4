"""What a model sees: text without control characters, of bounded length, and edits that touch one place only."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from swarm.tools.output import LIMIT, bounded, printable, readable, shorten
from swarm.tools.replacement import NoReplacement, replace_once
from swarm.types import ToolResult


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain\ttext\n", "plain\ttext\n"),
        (b"\x1b[31mred\x1b[0m \x1b[1;4mx\x1b[K", "red x"),
        (b"\x1b]0;title\x07after \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "after link"),
        (b"\x1b(B\x1b=\x1bMx", "x"),
        (b" 10%\r 50%\r100%\ndone\n", "100%\ndone\n"),
        (b"100%\r\nnext\r\n", "100%\nnext\n"),
        (b"100%\r", "100%"),
        (b"N\bNA\bA -\b\\\b|\b", "NA "),
        (b"a\x00b\x07c\x7f", "abc"),
        (b"caf\xe9 \xff", "caf\ufffd \ufffd"),
        ("caf\u00e9 \u4f60\u597d".encode(), "caf\u00e9 \u4f60\u597d"),
    ],
)
def test_output_reads_as_a_terminal_leaves_it(raw: bytes, text: str) -> None:
    assert readable(raw) == text


@given(st.binary())
def test_no_control_character_is_left(raw: bytes) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", readable(raw))


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_text_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("hostile", ["\x1b]", "\x1b[", "\x1bP0", "\x1b[1;", "\x9b", "\b", "\r", "x\b"])
def test_hostile_output_is_no_burden(hostile: str) -> None:
    assert len(readable(hostile.encode() * 300_000)) < 700_000


@given(st.text(), st.integers(80, 300), st.integers(1, 50), st.booleans())
def test_shortened_text_keeps_head_and_tail(text: str, limit: int, times: int, lost: bool) -> None:
    text *= times
    short = shorten(text, limit, lost=lost)
    assert len(short) <= limit
    if len(text) <= limit:
        assert short == text
        return
    found = re.search(r"\n\[\.\.\. (?:more than )?(\d+) characters left out \.\.\.\]\n", short)
    assert found is not None
    head, tail = short[: found.start()], short[found.end() :]
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head) >= 10
    assert abs(len(head) - len(tail)) <= 1
    assert len(head) + int(found[1]) + len(tail) == len(text)


def test_a_bounded_result_can_be_sent() -> None:
    long = bounded(ToolResult("x" * 100_000 + "\ud800"))
    assert long.truncated
    assert LIMIT - 10 < len(long.content) <= LIMIT
    long.content.encode()


@given(st.text(), st.text(min_size=1), st.text(), st.text())
def test_replacing_a_unique_text_is_str_replace(before: str, old: str, after: str, new: str) -> None:
    text = before + old + after
    assume(old != new and text.find(old) == text.rfind(old))
    assume("\r\n" not in text)
    assert replace_once(text, old, new)[0] == text.replace(old, new)


@given(st.text(alphabet="ab\r\n"), st.text(alphabet="ab\r\n", min_size=1), st.text(alphabet="ab\r\n"))
def test_a_replacement_touches_one_place_or_none(text: str, old: str, new: str) -> None:
    try:
        changed, line = replace_once(text, old, new)
    except NoReplacement:
        return
    crlf = "\r\n" in text and "\n" not in text.replace("\r\n", "")
    if crlf and "\r\n" not in old:
        old = old.replace("\n", "\r\n")
    if crlf and "\r\n" not in new:
        new = new.replace("\n", "\r\n")
    assert text.count(old) == 1
    assert changed == text.replace(old, new)
    assert line == text[: text.index(old)].count("\n") + 1


def test_crlf_files_stay_so() -> None:
    assert replace_once("a\r\nb\r\nc\r\n", "a\nb\n", "x\ny\nz\n") == ("x\r\ny\r\nz\r\nc\r\n", 1)
    assert replace_once("a\r\nb\r\n", "b", "b\nc") == ("a\r\nb\r\nc\r\n", 2)
    assert replace_once("a\r\nb\nc", "b\nc", "d\ne") == ("a\r\nd\ne", 2), "mixed endings are taken literally"


@pytest.mark.parametrize(
    ("text", "old", "new", "words"),
    [
        ("abc", "", "x", ["empty", "use write"]),
        ("abc", "b", "b", ["the same"]),
        ("aaa", "aa", "b", ["2 times", "lines 1, 1"]),
        ("x\ny\nx\nx\n", "x", "z", ["3 times", "lines 1, 3, 4", "unique"]),
        ("if a:\n\tgo()\n", "if a:\n    go()\n", "x", ["whitespace differs", "     2\t\tgo()"]),
        ("one\ntwo\n", "     1\tone\n     2\ttwo", "x", ["line numbers"]),
        (
            "def total(items):\n    return 1\n",
            "def totals(item):\n",
            "x",
            ["most similar", "     1\tdef total(items):"],
        ),
        ("one\n", "something else entirely", "x", ["nor anything like it"]),
        ("one\n", "\n\n\n", "x", ["not there"]),
    ],
)
def test_a_replacement_that_cannot_be_made_is_explained(text: str, old: str, new: str, words: list[str]) -> None:
    with pytest.raises(NoReplacement) as caught:
        replace_once(text, old, new)
    for word in words:
        assert word in str(caught.value)
