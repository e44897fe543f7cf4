"""Asks the person at the terminal before a run spends: about its plan, and about going on over `--ask-usd`."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swarm.cli.ask import ask, attended, yes_or_no
from swarm.cli.discovery import cannot_run
from swarm.cli.editor import edit, editor_of
from swarm.cli.interrupts import folder_of
from swarm.cli.plan_file import read, written
from swarm.cli.stdio import complain
from swarm.cli.summary import as_it_is, plan_lines
from swarm.cli.text import line
from swarm.config import RunConfig

if TYPE_CHECKING:
    from swarm.approval import Approve, Question
    from swarm.cli.display import Display
    from swarm.types import Plan

_AT_ONCE_S = 1.0
"""Whoever edits takes longer."""

_WAITS = "; an editor that returns at once needs its option to wait, such as `code --wait`"


@dataclass
class Wish:
    """What the user wants instead of the run that was asked about: another test command for `repo`; empty for no
    gate."""

    repo: Path
    test: str | None = None


def asker(args: argparse.Namespace, config: RunConfig, display: Display, wish: Wish | None = None) -> Approve | None:
    """What answers the run's questions; None where nobody is asked: with `--yes`, `--json`, or without a
    terminal. `wish`: where another test command can be asked for."""
    if args.yes or args.json or args.dry_run or not attended():
        return None

    async def approve(question: Question) -> bool | Plan:
        if not _is_asked(question, config):
            return True
        async with display.aside():
            folder = folder_of(display.view.run_id) / "artifacts"
            return await _Asking(question, as_it_is(config, display.view.totals), folder, wish).answer()

    return approve


def _is_asked(question: Question, config: RunConfig) -> bool:
    """The first plan is shown; later ones go on from it. The patch is asked about when it is there (`deliver`)."""
    if question.kind == "plan":
        return question.stage == 1 and config.mode != "single"
    return question.kind == "spending"


class _Asking:
    """One question at the terminal, until it has an answer. What is edited lies in `folder` meanwhile."""

    def __init__(self, question: Question, config: RunConfig, folder: Path, wish: Wish | None) -> None:
        self._question = question
        self._folder = folder
        self._config = config
        self._wish = wish if question.kind == "plan" else None

    async def answer(self) -> bool | Plan:
        question, plan = self._question, self._question.plan
        asked = f"{question.text[0].upper()}{question.text[1:]} [y/N]"
        if question.kind != "plan" or plan is None:
            while (agreed := yes_or_no(await ask(asked))) is None:
                pass
            return agreed
        complain("\n".join(plan_lines(plan, self._config, question.preview)))
        more = "e: edit the plan" + (", t: another test command" if self._wish is not None else "")
        while True:
            typed = await ask(f"{asked} ({more})")
            word = (typed or "").lower()
            if word in ("e", "edit"):
                edited = await self._edited(plan)
                if edited is not None:
                    return edited
            elif word in ("t", "test") and self._wish is not None:
                command = await ask("Test command (none: no gate), with which it is planned anew:")
                if wrong := await cannot_run(command or "", self._config, self._wish.repo):
                    complain(f"swarm: {wrong}: the plan is as it was")
                    continue
                self._wish.test = command
                return False
            elif (agreed := yes_or_no(typed)) is not None:
                return agreed

    async def _edited(self, plan: Plan) -> bool | Plan | None:
        """The plan as the user made it; no where the file was emptied, None where nothing was changed."""
        editor = editor_of(dict(os.environ))
        if not editor:
            complain("no editor is there: set EDITOR")
            return None
        text = written(plan)
        with tempfile.TemporaryDirectory(prefix="edited-", dir=self._folder) as folder:
            path = Path(folder) / "plan.toml"
            while True:
                path.write_text(text, encoding="utf-8")
                opened = time.monotonic()
                if wrong := await edit(editor, path):
                    complain(f"swarm: {wrong}: the plan is as it was")
                    return None
                try:
                    given = path.read_text(encoding="utf-8", errors="replace")
                except OSError as error:
                    complain(f"swarm: {path}: {error.strerror}: the plan is as it was")
                    return None
                if given == text:
                    at_once = time.monotonic() - opened < _AT_ONCE_S
                    complain(f"nothing was changed{_WAITS if at_once else ''}")
                    return None
                edited, problems = read(given, self._config.max_agents)
                if not problems:
                    return edited if edited is not None else False
                complain("\n".join(f"  {line(each, 400)}" for each in problems))
                body = given.splitlines(keepends=True)
                while body and (body[0].startswith("# WRONG: ") or not body[0].strip()):
                    body.pop(0)
                text = "".join([*(f"# WRONG: {line(each, 400)}\n" for each in problems), "\n", *body])
