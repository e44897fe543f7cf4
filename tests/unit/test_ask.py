"""Questions at a terminal: what counts as an answer, and what does not."""

from __future__ import annotations

import errno
import io
import os
import pty
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from swarm.approval import Question
from swarm.cli.approve import Wish, _Asking
from swarm.cli.ask import ask_blocking, attended, yes_or_no
from swarm.cli.discovery import cannot_run
from swarm.cli.offer import Wanted, offer
from swarm.config import RunConfig
from swarm.types import Plan, SubTask


class Person(io.StringIO):
    """Standard error, and who reads it: types a line for each question."""

    def __init__(self, keyboard: int, answers: list[str]) -> None:
        super().__init__()
        self._keyboard, self._answers = keyboard, answers

    def write(self, text: str) -> int:
        if text.endswith((") ", "? ", ": ")):
            os.write(self._keyboard, f"{self._answers.pop(0)}\n".encode())
        return super().write(text)

    def isatty(self) -> bool:
        return True


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
    os.close(ours)


def sit(monkeypatch: pytest.MonkeyPatch, keyboard: int, *answers: str) -> Person:
    person = Person(keyboard, list(answers))
    monkeypatch.setattr(sys, "stderr", person)
    return person


def test_what_was_typed_before_the_question_is_no_answer(keyboard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    os.write(keyboard, b"y\ny\n")
    select.select([sys.stdin], [], [])  # it has come
    person = sit(monkeypatch, keyboard, "no")
    assert ask_blocking("Go on?") == "no"
    assert "what was typed before the question was not taken\nGo on? " in person.getvalue()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("y", True), ("YES", True), ("n", False), ("No", False), ("", False), (None, False), ("z", None), ("Yess", None)],
)
def test_only_a_no_is_a_no(typed: str | None, meant: bool | None) -> None:
    assert yes_or_no(typed) is meant


def test_a_terminal_that_is_gone_is_the_end_of_input(keyboard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sit(monkeypatch, keyboard, "y")
    assert attended()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(readline=broken, fileno=sys.stdin.fileno))
    assert ask_blocking("Apply?") is None


def broken() -> str:
    raise OSError(errno.EIO, "Input/output error")


def test_a_patch_is_shown_without_its_pager_and_another_word_is_asked_again(
    keyboard: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.diff").write_text("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-one\n+two\n")
    monkeypatch.setenv("PAGER", "/nonexistent/pager")
    person = sit(monkeypatch, keyboard, "d", "z", "n")
    assert offer(tmp_path, tmp_path / "a.diff", "", lambda name: None) == Wanted()
    assert "+two" in person.getvalue()
    assert "'z' is no answer" in person.getvalue()


def test_a_test_command_with_a_slip_costs_no_plan(
    keyboard: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = Plan(rationale="", subtasks=(SubTask(id="one", title="One", instructions="Do it."),))
    question, wish = Question("plan", "run 1 sub-agent?", 1, plan), Wish(tmp_path)
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.delenv("VISUAL", raising=False)
    person = sit(monkeypatch, keyboard, "e", "t", "/nonexistent/cmd -q", "Yess", "y")
    assert anyio.run(_Asking(question, RunConfig(), tmp_path, wish).answer) is True
    assert wish.test is None
    assert "`/nonexistent/cmd` is not there: the plan is as it was" in person.getvalue()
    assert "nothing was changed; an editor that returns at once needs" in person.getvalue()


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("true # mine", ""),
        ("X=1 sh -c true", ""),
        ("(cd a && make)", ""),
        ("", ""),
        ("X=1 no-such-program-here -q", "`no-such-program-here` is not there"),
        ("./run-tests", "`./run-tests` is not there"),
    ],
)
def test_a_program_that_is_not_there(command: str, wrong: str, tmp_path: Path) -> None:
    assert anyio.run(cannot_run, command, RunConfig(), tmp_path) == wrong
