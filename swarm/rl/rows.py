"""Calls become training rows. One row a call is always right; calls whose prompts go on from each other make one.

Walking the calls of a lineage, with the tokens held so far:

- CLEAN: the next prompt begins with them. What is new in it is appended with mask 0, the completion with mask 1.
- REALIGN: it differs inside the last completion, near its end (a template that writes an answer otherwise than it was
  sampled). From there on the prompt's tokens are taken, with mask 0.
- FORK: else. The row is done and another one begins, in whose prompt what was sampled before has mask 0: no sampled
  token is trained twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from swarm.events import CallFinished
from swarm.events.tokens import TokensTaken
from swarm.journal.open_calls import is_turn
from swarm.rl.reading import Trajectory
from swarm.types import Message

NEAR = 1024
"""Tokens from its end in which the last completion may differ."""


@dataclass(slots=True)
class Row:
    """Tokens to train on. `mask` is 1 where one was sampled, `logprobs` are 0.0 elsewhere; the first `prompt_len`
    tokens are the prompt of the first call. `joins` tells how each further call was appended."""

    trajectory_id: str
    lineage_id: int
    tokens: list[int]
    mask: list[int]
    logprobs: list[float]
    prompt_len: int
    calls: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)
    finish_reason: str = ""
    messages: list[Message] = field(default_factory=list)
    """The prompt of the first call."""
    _sampled_from: int = 0
    """Where the last completion begins."""

    @property
    def prompt_ids(self) -> list[int]:
        return self.tokens[: self.prompt_len]

    @property
    def response_ids(self) -> list[int]:
        return self.tokens[self.prompt_len :]

    @property
    def response_mask(self) -> list[int]:
        return self.mask[self.prompt_len :]

    @property
    def response_logprobs(self) -> list[float]:
        return self.logprobs[self.prompt_len :]

    def append(self, ids: Sequence[int], logprobs: Sequence[float] | None = None) -> None:
        """Add sampled tokens, or without logprobs others."""
        self.tokens += ids
        self.mask += [0 if logprobs is None else 1] * len(ids)
        self.logprobs += [0.0] * len(ids) if logprobs is None else logprobs

    def join(self, prompt: Sequence[int], near: int) -> str:
        """Take in the next prompt, if it goes on from here; gives how, or `fork`."""
        shared = _common(self.tokens, prompt)
        if shared == len(self.tokens):
            self.append(prompt[shared:])
            return "clean"
        if shared >= self._sampled_from and len(self.tokens) - shared <= near:
            del self.tokens[shared:], self.mask[shared:], self.logprobs[shared:]
            self.append(prompt[shared:])
            return "realign"
        return "fork"

    def sampled(self, call: CallFinished, record: TokensTaken) -> None:
        """Take in a completion."""
        self._sampled_from = len(self.tokens)
        self.append(record.completion_ids, record.completion_logprobs)
        self.calls.append(call.call_id)
        self.versions.append(call.policy_version)
        self.finish_reason = call.finish_reason


def rows_of(trajectory: Trajectory, near: int = NEAR) -> Iterator[Row]:
    """The rows of a trajectory, in order. A call that cannot be trained on is no part of one, but for what later
    prompts hold of it; calls beside the turns, such as one for a summary, are rows of their own."""
    row: Row | None = None
    for call, messages, ids in trajectory.walk():
        if call.untrainable or ids is None:
            continue
        prompt, record = ids
        if not is_turn(call):
            beside = _begun(call, prompt, messages)
            beside.sampled(call, record)
            yield beside
            continue
        how = row.join(prompt, near) if row is not None and row.lineage_id == call.lineage_id else "fork"
        if row is None or how == "fork":
            if row is not None:
                yield row
            row = _begun(call, prompt, messages)
        else:
            row.joins.append(how)
        row.sampled(call, record)
    if row is not None:
        yield row


def _begun(call: CallFinished, prompt: list[int], messages: list[Message]) -> Row:
    size = len(prompt)
    return Row(call.trajectory_id, call.lineage_id, prompt, [0] * size, [0.0] * size, size, messages=messages)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return size
    return next(at for at in range(size) if one[at] != other[at])
