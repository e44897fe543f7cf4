"""Text from models and files, made fit to be read."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.legible import clean, visible


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_cleaned_text_has_no_controls_and_can_be_encoded(text: str) -> None:
    done = clean(f"\x1b[31m{text}\x1b]0;title\x07\r\n\ud800")
    done.encode()
    assert not any(char in done for char in "\x1b\r\x07\x00\u202e\u2028")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext äß 字 👍🏽 e\u0301", "plain\ttext äß 字 👍🏽 e\u0301"),
        ("x = 1 \u202e evil \u2066", "x = 1 <U+202E> evil <U+2066>"),
        ("a\u200bb\u200fc\u2028d\ufeffe\u3164", "a<U+200B>b<U+200F>c<U+2028>d<U+FEFF>e<U+3164>"),
        ("\x1b[31mred\r", "^[[31mred^M"),
        ("two\nlines\x7f\x9b", "two^Jlines^?<U+009B>"),
        (b"caf\xe9".decode(errors="surrogateescape"), "caf<E9>"),
        ("tag \U000e0041", "tag <U+E0041>"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_nothing_of_a_reviewed_line_is_lost_on_the_way_to_the_page(text: str) -> None:
    shown = visible(text)
    assert clean(shown) == shown
    assert all(char == "\t" or unicodedata.category(char) not in ("Cc", "Zl", "Zp", "Cs") for char in shown)
