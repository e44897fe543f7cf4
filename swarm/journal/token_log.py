"""Tokens of calls as deltas: `tokens.jsonl`, beside the events of the run.

Nothing is kept of a call whose prompt or answer held a secret, or whose prompt goes on from such a one: ids are text.
"""

from __future__ import annotations

import hashlib
import struct
import sys
import time
from array import array
from collections.abc import Sequence

from pydantic_core import to_json

from swarm.calls import Tokens
from swarm.events import AgentEnded, AgentStarted, CallFinished, Event
from swarm.events.tokens import TOKENS, TokensTaken
from swarm.journal.lines import LineFile, sealed

_HIDDEN = b"[redacted:"


class Stains:
    """Fed with all events: what of them held a secret, and which calls have tokens."""

    def __init__(self) -> None:
        self.stained: set[str] = set()
        """Calls, and trajectories."""
        self.tokens: set[str] = set()
        """Calls whose tokens are in the file beside."""

    def __repr__(self) -> str:
        return f"<Stains {len(self.stained)}, tokens of {len(self.tokens)} calls>"

    def observe(self, event: Event) -> None:
        """Take in the next event of those that the run goes on with."""
        self.stain(event)
        if isinstance(event, CallFinished) and event.token_source != "none":
            self.tokens.add(event.call_id)

    def stain(self, event: Event) -> None:
        """Take in the next event that is written."""
        if isinstance(event, CallFinished):
            if event.redacted:
                self.stained.add(event.call_id)
        elif isinstance(event, AgentStarted) and event.tools and _HIDDEN in to_json(event.tools):
            self.stained.add(event.trajectory_id)


class TokenLog:
    """Takes the tokens of calls and writes them. `stains` are those of what the run goes on with, `next_seq` the number
    of the next line."""

    def __init__(self, file: LineFile, run_id: str, stains: Stains | None = None, next_seq: int = 0) -> None:
        self.file = file
        self._run_id = run_id
        self._next_seq = next_seq
        self._last: dict[str, tuple[str, array[int]]] = {}  # by trajectory: the last call, its prompt and answer
        self._stains = stains or Stains()

    def __repr__(self) -> str:
        return f"<TokenLog {self._next_seq} calls>"

    def before(self, event: Event) -> None:
        """A call is about to be masked: it is redacted where the prompt that it goes on from was."""
        if isinstance(event, CallFinished) and not event.redacted:
            stained = self._stains.stained
            goes_on = event.prefix_call_id in stained and event.prefix_messages > 0
            if goes_on or event.trajectory_id in stained:
                withhold(event)

    def take(self, event: Event, tokens: Tokens | None) -> None:
        """An event was masked, and is about to be written: keep what tokens go along with it."""
        if tokens is None and type(event) is CallFinished:  # as a rule
            if event.redacted:
                self._stains.stain(event)
            return
        self._stains.stain(event)
        if isinstance(event, AgentEnded):
            self._last.pop(event.trajectory_id, None)
        if isinstance(event, CallFinished) and tokens is not None and not event.redacted:
            self.file.write(sealed(TOKENS.serializer.to_json(self._record(event, tokens))))
            self._next_seq += 1

    def _record(self, call: CallFinished, tokens: Tokens) -> TokensTaken:
        prompt = array("q", tokens.prompt_ids)
        before, known = self._last.get(call.trajectory_id, ("", array("q")))
        shared = common(known, prompt)
        self._last[call.trajectory_id] = (call.call_id, prompt + array("q", tokens.completion_ids))
        return TokensTaken.model_construct(
            seq=self._next_seq,
            run_id=self._run_id,
            t=time.time(),
            mono=time.monotonic(),
            trajectory_id=call.trajectory_id,
            lineage_id=call.lineage_id,
            call_id=call.call_id,
            attempt=call.attempt,
            prefix_call_id=before if shared else "",
            prefix_len=shared,
            prompt_ids_tail=prompt[shared:].tolist(),
            prompt_len=len(prompt),
            prompt_ids_sha256=ids_sha256(prompt),
            completion_ids=list(tokens.completion_ids),
            completion_logprobs=shortest(tokens.logprobs),
            prompt_tokens=tokens.prompt_tokens,
            completion_tokens=tokens.completion_tokens,
            policy_version=call.policy_version,
        )


def withhold(call: CallFinished) -> None:
    """A call that held a secret: none of its tokens are kept."""
    call.redacted, call.token_source, call.token_exact = True, "none", False
    if call.untrainable not in ("frozen", "failed"):
        call.untrainable = "redacted"


def common(one: array[int], other: array[int]) -> int:
    """How many ids both begin with."""
    low, high = 0, min(len(one), len(other))
    left, right = memoryview(one).cast("B"), memoryview(other).cast("B")
    if left[: high * 8] == right[: high * 8]:
        return high
    while high - low > 1:  # what is below `low` is the same, something below `high` is not
        middle = (low + high) // 2
        if left[low * 8 : middle * 8] == right[low * 8 : middle * 8]:
            low = middle
        else:
            high = middle
    return low


def ids_sha256(ids: array[int]) -> str:
    """As `TokensTaken` has it."""
    return hashlib.sha256(ids_bytes(ids)).hexdigest()


def ids_bytes(ids: array[int]) -> bytes:
    """What is hashed of ids."""
    if sys.byteorder == "big":
        ids = array("q", ids)
        ids.byteswap()
    return ids.tobytes()


def shortest(values: Sequence[float]) -> list[float]:
    """The same numbers as 32-bit floats, in as few digits as tell them apart."""
    singles = struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values))
    return [float(f"{value:.9g}") for value in singles]
