"""Offers a patch to the person at the terminal: to be applied, to be looked at, to be put on a branch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from swarm.cli.ask import ask_blocking, yes_or_no
from swarm.cli.stdio import complain, complain_as_it_is, one_line
from swarm.errors import UsageError
from swarm.legible import visible
from swarm.sandboxes.git.command import user_git

_MOST_FILES = 20
_NO_PROGRAM = (126, 127)  # exit codes of a shell
_MARKS = {"+": "32", "-": "31", "@": "36", "d": "1"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be done with a patch. `branch`: the name of a new one, empty for none."""

    apply: bool = False
    branch: str = ""


def offer(repo: Path, patch: Path, doubt: str, check_branch: Callable[[str], None]) -> Wanted:
    """Ask until there is an answer; the end of input and Ctrl-C are a no. `doubt` says why it should perhaps not be
    applied; `check_branch` raises UsageError for a name that cannot be."""
    for text in _files(repo, patch):
        complain(text)
    warning = f"{doubt}. " if doubt else ""
    question = f"{warning}Apply the patch to {repo}? [y/N] (d: see it, b NAME: put it on a new branch)"
    try:
        while True:
            typed = ask_blocking(question)
            word, _, name = (typed or "").partition(" ")
            if word.lower() in ("d", "diff"):
                show(patch)
            elif word.lower() in ("b", "branch"):
                name = name.strip() or ask_blocking("Name of the branch:") or ""
                if not name:
                    return Wanted()
                try:
                    check_branch(name)
                except UsageError as error:
                    complain(f"swarm: {one_line(str(error))}")
                    continue
                return Wanted(branch=name)
            elif (agreed := yes_or_no(typed)) is not None:
                return Wanted(apply=agreed)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return Wanted()


def show(patch: Path) -> None:
    """A patch in the user's pager, without one as it is; what cannot be seen in its lines is written out."""
    text = patch.read_bytes().decode(errors="surrogateescape")
    lines = [_marked(visible(line)) for line in text.removesuffix("\n").split("\n")]
    pager = os.environ.get("PAGER", "").strip() or ("less" if which("less") else "")
    if not pager:
        complain_as_it_is("\n".join(lines))
        return
    env = {"LESS": "FRX", **os.environ}
    # Standard output may be a file, and a screen is wanted.
    with subprocess.Popen(["/bin/sh", "-c", pager], stdin=subprocess.PIPE, stdout=2, env=env) as process:
        with suppress(BrokenPipeError):  # it was left before the end
            process.communicate("\n".join([*lines, ""]).encode())
        while process.poll() is None:
            with suppress(KeyboardInterrupt):  # Ctrl-C is the pager's
                process.wait()
    if process.returncode in _NO_PROGRAM:
        complain_as_it_is("\n".join(lines))


def _marked(line: str) -> str:
    code = _MARKS.get(line[:1], "") if line[:1] != "d" or line.startswith("diff ") else ""
    return f"\x1b[{code}m{line}\x1b[m" if code and "NO_COLOR" not in os.environ else line


def _files(repo: Path, patch: Path) -> list[str]:
    done = user_git(repo).attempt("apply", "--numstat", "-z", patch.absolute())
    rows = done.out.decode(errors="surrogateescape").split("\0")[:-1]
    told = []
    for row in rows[:_MOST_FILES]:
        added, removed, path = [*row.split("\t", 2), "", ""][:3]
        told.append(f"  {visible(path)}  +{added} -{removed}")
    return [*told, *([f"  and {len(rows) - _MOST_FILES} more files"] if len(rows) > _MOST_FILES else [])]
