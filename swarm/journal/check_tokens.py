"""What must hold of `tokens.jsonl`, and between it and the calls."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

from swarm.calls import are_exact, is_logprob
from swarm.events import CallFinished, Event
from swarm.events.tokens import TokensTaken
from swarm.journal.check_calls import Finding
from swarm.journal.check_trunk import Ids
from swarm.journal.token_log import common, ids_bytes


class _Call(NamedTuple):
    """What the events say of a call's tokens. `completion` is None where its usage is of more than this exchange."""

    line: int
    trajectory_id: str
    lineage_id: int
    attempt: int
    exact: bool
    policy_version: str
    prompt: int | None
    completion: int | None


class _Held:
    """What a trajectory's last call was made with and answered, and the hash of it: both grow with what is new, and
    not with all that was before."""

    def __init__(self) -> None:
        self.call_id = ""
        self.ids = array("q")
        self.digest: Any = hashlib.sha256()

    def add(self, ids: array[int]) -> None:
        self.ids.extend(ids)
        self.digest.update(ids_bytes(ids))


class TokenLines:
    """Shown all events first, then all lines of tokens."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        self._none = Ids()
        self._orphans: list[tuple[int, str]] = []
        self._last: dict[str, _Held] = {}
        self._seen: set[str] = set()
        self._at = 0

    def call(self, event: Event, line: int) -> None:
        """Take in an event."""
        if not isinstance(event, CallFinished):
            return
        if event.accepted and event.token_source == "none":
            self._none.add(event.call_id)
        elif event.accepted:
            own = None if "exchanges" in event.fitted else event.usage
            self._calls[event.call_id] = _Call(
                line,
                event.trajectory_id,
                event.lineage_id,
                event.attempt,
                event.token_exact,
                event.policy_version,
                own.prompt_tokens if own else None,
                own.completion_tokens if own else None,
            )

    def see(self, record: TokensTaken, line: int) -> Iterator[Finding]:
        """Take in a line of tokens."""
        yield from ((line, f"{record.call_id}: {text}") for text in self._taken(record))
        if record.call_id not in self._calls:
            self._orphans.append((line, record.call_id))
        elif self._orphans:
            yield from self.orphans()

    def orphans(self) -> Iterator[Finding]:
        """Tokens without a call, by their own lines. At the end of what a run left that was killed they may be."""
        yield from ((line, f"{call_id}: there is no such call") for line, call_id in self._orphans)
        self._orphans.clear()

    def end(self) -> Iterator[Finding]:
        """Calls without tokens, by the lines of the events."""
        for call_id, call in self._calls.items():
            if call_id not in self._seen:
                yield call.line, f"{call_id}: its tokens are not in tokens.jsonl"

    def _taken(self, record: TokensTaken) -> Iterator[str]:
        orphan = record.call_id not in self._calls
        if not orphan and record.call_id in self._seen:
            yield "its tokens were told before"
        known = self._last.get(record.trajectory_id) or _Held()
        before, length, shared = known.call_id, len(known.ids), record.prefix_len
        if shared and record.prefix_call_id != before:
            yield f"its prompt begins with that of {record.prefix_call_id!r}, the call before is {before!r}"
        if not 0 <= shared <= length or bool(record.prefix_call_id) != bool(shared):
            yield f"its prompt begins with {shared} ids of {record.prefix_call_id!r}, there are {length}"
            known, length, shared = _Held(), 0, 0
        try:
            tail, completion = array("q", record.prompt_ids_tail), array("q", record.completion_ids)
        except OverflowError:
            yield "an id that is too large for 64 bits"
            return
        if any(each < 0 for each in (*tail, *completion)):
            yield "an id below 0"
        held = known
        if shared < length:
            held = _Held()
            held.add(known.ids[:shared])
        held.add(tail)
        prompt = len(held.ids)
        if record.prefix_call_id and shared < length and common(known.ids, held.ids) != shared:
            yield "the ids that it begins with are not as many as could be"
        if prompt != record.prompt_len or held.digest.hexdigest() != record.prompt_ids_sha256:
            yield "the prompt that is rebuilt has another length or hash"
        held.add(completion)
        held.call_id = record.call_id
        self._last[record.trajectory_id] = held
        if not all(map(is_logprob, record.completion_logprobs)):
            yield "a logprob that is none"
        yield from self._against(record, prompt, orphan=orphan)
        self._seen.add(record.call_id)

    def _against(self, record: TokensTaken, prompt: int, *, orphan: bool) -> Iterator[str]:
        """What the call's own record says."""
        if orphan:
            if record.call_id in self._none:
                yield "the call says that it has no tokens"
            return
        call = self._calls[record.call_id]
        if call.line < self._at:
            yield f"it stands behind that of a later call, line {self._at} of events.jsonl"
        self._at = max(self._at, call.line)
        own = (call.trajectory_id, call.lineage_id, call.attempt, call.policy_version)
        if (record.trajectory_id, record.lineage_id, record.attempt, record.policy_version) != own:
            yield f"agent, lineage, attempt or version are not those of the call, line {call.line} of events.jsonl"
        completion, logprobs = len(record.completion_ids), record.completion_logprobs
        counts = (record.prompt_tokens, record.completion_tokens)
        exact = are_exact((prompt, completion), counts, logprobs)
        if call.prompt is not None and counts != (call.prompt, call.completion):
            yield f"{counts} tokens were counted, and the call's usage is {(call.prompt, call.completion)}"
        if exact != call.exact:
            lengths = f"{prompt} + {completion} ids, {len(logprobs)} logprobs, {counts} counted"
            yield f"token_exact is {call.exact}, and there are {lengths}"
