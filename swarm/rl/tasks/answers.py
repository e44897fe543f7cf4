"""Verifiers for answers that are a word or a number: pure functions of a task and a text, 0 or 1."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from swarm.rl.tasks.task import Task

_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")
_FINAL = re.compile(r"^(?:[^\S\n]|[*_>#-])*+(?:final\s++)?answer[\s*_]*[:=]\s*(.+)$", re.IGNORECASE | re.MULTILINE)
_BRACES = re.compile(r"\\boxed\s*\{|[{}]")


def final_answer(text: str) -> str:
    """What a text says at last: of `Answer: ...` or `\\boxed{...}` the last one, else its last line."""
    found = [match.span(1) for match in _FINAL.finditer(text)]
    found += _boxes(text)
    if found:
        start, end = max(found)
        return text[start:end].strip(" *_`.")
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip(" *_`.") if lines else ""


def exact(task: Task, text: str) -> float:
    """1 where the final answer is the key (one of them, where the key is a list), but for case and blanks."""
    keys = task.answer if isinstance(task.answer, list | tuple) else [task.answer]
    return float(normal(final_answer(text)) in {normal(str(key)) for key in keys if key is not None})


def number(task: Task, text: str) -> float:
    """1 where the last number of the final answer is the last number of the key (as in `#### 42`), to 1e-6."""
    wanted, given = _last(str(task.answer)), _last(final_answer(text))
    if wanted is None or given is None:
        return 0.0
    return float(abs(wanted - given) <= 1e-6 * max(1.0, abs(wanted)))


def normal(text: str) -> str:
    """A text for comparing: without differences of case, of blanks, and of forms of one character."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _boxes(text: str) -> Iterator[tuple[int, int]]:
    """Where what is in a box begins and ends."""
    opened: list[re.Match[str]] = []
    for brace in _BRACES.finditer(text):
        if brace.group() != "}":
            opened.append(brace)
        elif opened and (begun := opened.pop()).group() != "{":
            yield begun.end(), brace.start()


def _last(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
