"""How many tokens a model's window holds, prompt and answer together, as far as anybody knows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from swarm.models.fitting.capabilities import Knowledge

LEAST = 512
"""Tokens below which a number is not taken for a window's."""

_NUMBER = r"[\"'=:(\[ ]*(?P<limit>\d[\d,_]{2,30})"
_SAID = tuple(
    re.compile(pattern + _NUMBER, re.IGNORECASE)
    for pattern in (
        r"(?:context|model|sequence|input) (?:length|size|window)[a-z ]{0,24}?",
        r"number of tokens allowed",
        r"\bn_ctx\b",
        r"\bmax_(?:model|seq|context)_len(?:gth)?\b",
        r"must be <=",
        r"tokens >",
        r"input length should be \[\d+, ?",
        r"model with",
        r"\blimit",
    )
)
"""How servers name their limit when they refuse a prompt."""


def _unknown() -> int | None:
    return None


class ContextWindow:
    """The window of one model. What is known may come later: each look asks anew."""

    def __init__(self, known: Callable[[], int | None] = _unknown) -> None:
        self._known = known

    def __repr__(self) -> str:
        return f"<ContextWindow of {self.tokens or 'unknown'} tokens>"

    @property
    def tokens(self) -> int | None:
        """Tokens of prompt and answer together; None where nobody knows."""
        return self._known()


def window_of(replicas: Sequence[Knowledge]) -> ContextWindow:
    """The window of a model with these replicas: the smallest that is known of one of them."""
    if len(replicas) == 1:  # mostly, and asked several times a call
        (one,) = replicas
        return ContextWindow(lambda: one.current.context_tokens)

    def known() -> int | None:
        found = [each.current.context_tokens for each in replicas]
        return min((tokens for tokens in found if tokens is not None), default=None)

    return ContextWindow(known)


def given_window(tokens: int | None) -> ContextWindow:
    """What the user says, and nothing else."""
    return ContextWindow(lambda: tokens)


def asked_said(text: str) -> int | None:
    """How many tokens the refused request had, or would have had with its answer, where the refusal names it beside the
    window: then it is the largest number."""
    limit = limit_said(text)
    largest = max((int(each.replace(",", "")) for each in re.findall(r"\d[\d,]{2,9}", text)), default=0)
    return largest if limit is not None and largest > limit else None


def limit_said(text: str) -> int | None:
    """The window that the refusal of a prompt names, where it names one."""
    for pattern in _SAID:
        for match in pattern.finditer(text):
            tokens = int(re.sub(r"[,_]", "", match["limit"]))
            if tokens >= LEAST:
                return tokens
    return None
