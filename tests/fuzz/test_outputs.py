"""What programs print and pages hold: outputs of test runners and commands, web pages, keys, text for the terminal."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swarm.cli.screen.terminal import keys
from swarm.cli.text import line
from swarm.discovery.verdict import unusable
from swarm.embedded.repair import command
from swarm.errors import SandboxError
from swarm.gating import pytest_output
from swarm.gating.judging import shown
from swarm.gating.reading import LONGEST_LINE, read
from swarm.gating.selection import parse
from swarm.journal.redaction import Redactor
from swarm.legible import clean, visible
from swarm.models.tapes.volatile import same, steady
from swarm.sandboxes.proof import Cgroups, Expected, Rlimits, _compare
from swarm.tools.html import page_text
from swarm.tools.output import printable, readable
from tests.effort import examples
from tests.fuzz.hostile import DIGITS, grows_in_step, mutated, texts
from tests.unit.test_gate_outputs import CUT_SHORT, NAMED

PRINTED = [str(each[0]) for each in (*NAMED, *CUT_SHORT)]
TRACEBACK = """=== FAILURES ===
____ Test.test_a[x] ____
    def test_a():
>       assert 1
E   File "a.py", line 3, in f
a.py:3: AssertionError
=== short test summary info ===
SUBFAILED[x] (i=1) a.py::test_a - x
FAILED a.py::Test::test_a[x - y] - z
ERROR b.py - w
a.py::test_b FAILED [ 50%]
=== 1 failed, 2 passed in 0.01s ==="""


@settings(max_examples=examples(25))
@given(
    texts([*PRINTED, TRACEBACK], ["  ", "\t" * 40, "#", "(", "[", "]", "FAILED ", "\x1b[31m", "✖ ", "● ", "- ", DIGITS])
)
@example("{" * 2000 + '"Action"')
@example('{"Action":"fail","Package":"p","Test":"' + "/" * 1_000 + '"}')
@example(f"=== {DIGITS} failed in 1s ===")
@example(f'File "a.py", line {DIGITS}\n=== FAILURES ===\n___ a ___\na.py:{DIGITS}: x')
@example("running ٣ tests\ntest a ... FAILED")
def test_the_output_of_tests_is_read_whatever_it_is(output: str) -> None:
    found = read(output)
    assert all(found.failed) and len(set(found.failed)) == len(found.failed)
    assert found.ran is None or found.ran >= 0
    for failure in pytest_output.parse(output):
        assert failure.nodeid
    shown(output)
    unusable("pytest", 1, output)
    steady(output)


@pytest.mark.parametrize(
    "text", [" ", "\t", "#", "(", ")", "[", "0", "FAILED ", "SUBFAILED[x] (", " - ", "✖ ", "a/", "_", "]", ". "]
)
def test_a_long_line_is_no_attack(text: str) -> None:
    """One that takes its time squared would not come back."""
    long = text * (60_000 // len(text))
    for head in (
        "",
        "FAILED ",
        "  ● ",
        "  Failed ",
        "rspec a:1 # ",
        "ok 1 ",
        "✖ ",
        "Tests: ",
        "=== ",
        "___ ",
        "> ",
        "E   File ",
    ):
        read(head + long + "x\n" * 3)
    pytest_output.parse(f"=== FAILURES ===\n___ a ___\n{long}\n")


@settings(max_examples=examples(25))
@given(texts(["cd a && X=1 python -m pytest -q tests/test_a.py -k 'x and y' 2>&1 | tail", 'tox -e py; pytest "a b"']))
@example("'" * 5_000)
@example("a='" * 2_000 + "pytest")
@example("\\" * 5_001)
def test_a_command_of_any_form_is_taken_apart(text: str) -> None:
    parse(text)
    command.parse(text)


PAGES = [
    "<html><head><title>A  page</title><style>p{}</style></head><body><h1>Head</h1><p>One <a href='/n?a=1&amp;b=2'>link"
    "</a></p><script>no('</p>')</script><pre> x\n y</pre><ul><li>i<li>j</ul><!-- c --><table><tr><td>1</table></html>",
    '<!DOCTYPE html><svg><a href="x>y" b=c>t</svg>&#x41;&lt;&nbsp;<br/>',
]


@settings(max_examples=examples(25))
@given(
    texts(
        PAGES, ["<", ">", "</", "<!--", "<a ", '="', "&#", f"&#{DIGITS};", "<![CDATA[", "<?", "<script>", "</a>", "\0"]
    )
)
@example(f"&#{DIGITS};&#x{DIGITS};&#1114112;&#55296;")
@example("<a href='http://[::1'>x</a>")
@example('<a href="' + "x" * 10_000 + '">y</a>')
def test_any_page_becomes_text(page: str) -> None:
    assert isinstance(page_text(page, "http://a.org/b"), str)


@pytest.mark.parametrize("piece", ["<!--", "<![CDATA[", "<a", "<a ", "</", "<!", "<?", "<svg>", '<a b="', "<script>", "<svg><x></y>", "&#", "<title>", "<a href=", "<p>", "<a ='", "<style "])  # fmt: skip  # noqa: E501
def test_a_long_page_is_no_attack(piece: str) -> None:
    """One that takes its time squared would not come back: html.parser took days for some of these."""
    page_text(piece * (200_000 // len(piece)), "http://a.org")


@settings(max_examples=examples(25))
@given(mutated([b"\x1b[1;31mred\x1b[0m\r\x1b]0;title\x07 a\rb\x08c", b"\x1b[A\x1bOP\x1b[200~x\x1b[201~q\xc3\xa9\x1b"]))
@example(b"\x1b[" + b"0;" * 20_000)
@example(b"\x1b]" + b"x" * 20_000)
def test_nothing_that_is_written_steers_the_terminal(data: bytes) -> None:
    assert all(isinstance(key, str) for key in keys(data))
    text = data.decode("utf-8", "surrogateescape")
    for made in (clean(text), line(text), visible(text), readable(data), printable(text)):
        made.encode("utf-8", "surrogateescape")
        assert "\x1b" not in made and "\x07" not in made
    Redactor({"A_KEY": "sk-0123456789"}).redact(text)


@settings(max_examples=examples(25))
@given(
    texts(["at 2026-11-22T10:00:00Z in 3.2 s, pid 12, /tmp/tmpabcdef12/x 0xdeadbeef", "1:02:03 elapsed=1.5"]), st.data()
)
def test_recorded_texts_are_compared_whatever_they_are(text: str, data: st.DataObject) -> None:
    other = data.draw(st.sampled_from([text, text[::-1], text + "1", ""]))
    assert same(text, text)
    assert isinstance(same(text, other), bool)


NONCE = "n0n"
SECTIONS = f"""{NONCE}:cwd
/w
{NONCE}:nonce
{NONCE}
{NONCE}:status
Uid:\t1000\t1000\t1000\t1000
CapEff:\t0
CapPrm:\t0
CapBnd:\t0
NoNewPrivs:\t1
Seccomp:\t2
{NONCE}:devices
 lo: 0
{NONCE}:mounts
1 2 0:1 / / ro - tmpfs tmpfs ro
1 2 0:1 / /w rw - tmpfs tmpfs rw
{NONCE}:limits
Limit Soft Hard Units
Max processes 10 10 processes
{NONCE}:written
{NONCE}:cgroups
memory 100
pids 10
cpu 100 100
{NONCE}:end
"""


@settings(max_examples=examples(25))
@given(mutated([SECTIONS.encode()], (DIGITS.encode(), b"max", b"\\777", b"-1", b"unlimited")))
@example(SECTIONS.replace(f"{NONCE}:status\n", "").encode())
@example(SECTIONS.replace("1 2 0:1 / / ro - tmpfs tmpfs ro", "x").encode())
@example(SECTIONS.replace("memory 100", f"memory {DIGITS}").encode())
@example(SECTIONS.replace("cpu 100 100", "cpu x").encode())
@example(SECTIONS.replace("Max processes 10 10", "Max processes x").encode())
def test_a_sandbox_that_tells_anything_of_itself_is_taken_or_refused(data: bytes) -> None:
    text = data.decode(errors="replace")
    sections = dict(part.partition("\n")[::2] for part in text.split(f"{NONCE}:")[1:])
    wanted: dict[str, Any] = {"workdir": "/w", "workspace": Path("/x"), "isolated": True, "seccomp": True}
    expected = Expected(
        **wanted, rlimits=Rlimits(file_bytes=1, processes=10), cgroups=Cgroups(memory_bytes=100, pids=10, cpus=1)
    )
    with contextlib.suppress(SandboxError):
        _compare(sections, expected, NONCE, NONCE)


def test_work_grows_with_the_output_and_no_faster() -> None:
    def printed(n: int) -> Any:
        return lambda: read("\n".join(PRINTED[0].split("\n") * n))

    def tracebacks(n: int) -> Any:
        return lambda: pytest_output.parse(TRACEBACK * n)

    def parts(n: int) -> Any:
        test = "/".join(["a"] * n)
        return lambda: read(json.dumps({"Action": "fail", "Package": "p", "Test": test})[:LONGEST_LINE])

    def page(n: int) -> Any:
        return lambda: page_text("<svg>" * n + "</p>" * n, "http://a")

    makes = (printed, tracebacks, parts, page)
    assert {make.__name__: grows_in_step(make, 30) for make in makes} == {make.__name__: True for make in makes}
