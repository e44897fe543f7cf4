"""The system prompts: `NAME.md` beside this file, or a user's own file of that name in place of it.

A `{{placeholder}}` stands for words that the program depends on: how an answer is given that it can read. They are put
in once, when the prompts are loaded, so that a prompt never changes during a run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from swarm.errors import UsageError
from swarm.prompts.plan_form import plan_fields
from swarm.values import value

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "planner": ("plan_fields",),
    "orchestrator": ("delegation",),
    "subagent": ("submit",),
    "single": ("submit",),
    "aggregator": ("sources",),
    "judge": ("ranking",),
    "compact": (),
    "worker": (),
}
"""All prompts, and the placeholders that each must hold; it may hold no others."""

LONGEST = 64_000
"""Bytes of a user's own prompt: it goes into every call."""

_PLACEHOLDER = re.compile(r"\{\{\s*+(\w*+)\s*+\}\}")


@value(frozen=True, slots=True)
class Prompts:
    """The system prompts of a run, as models see them."""

    texts: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.texts[name]

    @property
    def versions(self) -> dict[str, str]:
        """The beginning of each prompt's hash: that of `system_prompt_sha256` where nothing is added to it."""
        return {name: sha256(text.encode()).hexdigest()[:12] for name, text in sorted(self.texts.items())}


@cache
def own_prompts() -> Prompts:
    """The prompts that come with the program."""
    return Prompts({name: _filled(name, _ours(name)) for name in REQUIRED})


def load_prompts(folder: Path | None) -> Prompts:
    """Our prompts, but those that a folder holds a file for. Files whose names begin with a dot are not looked at.

    Raises:
        UsageError: the folder or a file in it cannot be used; the message says which and why.
    """
    if folder is None:
        return own_prompts()
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UsageError(f"prompts: {folder}: {error.strerror}", remedy="name a folder of prompts") from None
    return Prompts({**own_prompts().texts, **{path.stem: _theirs(path) for path in found}})


def _theirs(path: Path) -> str:
    if path.suffix != ".md" or path.stem not in REQUIRED:
        known = ", ".join(f"{name}.md" for name in REQUIRED)
        raise _refused(path, "no prompt has this name", f"the prompts are {known}")
    try:
        inside = path.resolve(strict=True).is_relative_to(path.parent.resolve())
        data = path.read_bytes() if inside else b""
    except (OSError, RuntimeError) as error:
        raise _refused(path, getattr(error, "strerror", "") or "it cannot be read", "mend or remove it") from None
    if not inside:
        raise _refused(path, "it is a link that leads out of the folder", "put the file itself there")
    if len(data) > LONGEST:
        raise _refused(path, f"it has {len(data)} bytes", f"a prompt has at most {LONGEST}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _refused(path, "it is not UTF-8 text", "save it as UTF-8") from None
    text = "\n".join(text.splitlines()).strip()
    if not text:
        raise _refused(path, "it is empty", "write the prompt, or remove the file to have ours")
    held, wanted = set(_PLACEHOLDER.findall(text)), set(REQUIRED[path.stem])
    if missing := sorted(wanted - held):
        raise _refused(path, f"{{{{{missing[0]}}}}} is missing", f"put it where {_WHAT_FOR[missing[0]]} should stand")
    if unknown := sorted(held - wanted):
        allowed = ", ".join(f"{{{{{name}}}}}" for name in sorted(wanted))
        raise _refused(path, f"{{{{{unknown[0]}}}}} is no placeholder of this prompt", f"it takes {allowed}")
    return _filled(path.stem, text)


_WHAT_FOR = {
    "plan_fields": "the fields of a plan",
    "delegation": "what the tools for delegation do",
    "submit": "how work is handed in",
    "sources": "how the answer ends",
    "ranking": "the form of a ranking",
}


def _refused(path: Path, why: str, remedy: str) -> UsageError:
    return UsageError(f"prompts: {path}: {why}", remedy=remedy)


def _filled(name: str, text: str) -> str:
    parts = {held: plan_fields() if held == "plan_fields" else _ours(f"parts/{held}") for held in REQUIRED[name]}
    return _PLACEHOLDER.sub(lambda match: parts[match[1]], text)


def _ours(name: str) -> str:
    return (files("swarm") / "prompts" / f"{name}.md").read_text(encoding="utf-8").strip()
