"""The frozen sub-agent: a script that looks up what it is told, one entry a turn, and has its limits.

It follows a lead, for an entry may be hard. But it holds out for `PATIENCE` uses of `look_up` and no more: told too
much, or sent into a chain, it gives up with nothing to show. So its success depends on the size and the difficulty of
what it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from examples.parl.vocabulary import names_in
from examples.parl.world import LookUp
from swarm.embedded.policy import PolicyReply, PolicyRequest, PolicyToolCall

PATIENCE = 2


class Clerk:
    """`swarm.embedded.policy.Policy`: the same answer to the same conversation, always."""

    name = "clerk"
    version = "clerk-1"

    def reply(self, request: PolicyRequest) -> PolicyReply:
        """The next look-up, or the end."""
        asked = names_in(_last_part(request.messages))
        results = [str(message["content"]) for message in request.messages if message["role"] == "tool"]
        todo = list(dict.fromkeys(asked))
        for result in results:
            entry, word, *rest = result.split()
            if word == "leads":
                todo.insert(todo.index(entry) + 1, rest[0])
            elif entry == "no":
                return _submit("failed", f"{result}: somebody else must know better.")
        looked = {result.split()[0] for result in results}
        left = [entry for entry in todo if entry not in looked]
        if not left:
            return _submit("done" if results else "failed", "; ".join(results) or "There was nothing to look up.")
        if len(looked) + len(left) > PATIENCE:
            return _submit("failed", "That is too much for one agent.")
        return PolicyReply(tool_calls=(PolicyToolCall(LookUp.name, json.dumps({"entry": left[0]})),))


def _last_part(messages: Sequence[dict[str, Any]]) -> str:
    """The sub-task: what stands last in the first message of the user."""
    first = next(str(message["content"]) for message in messages if message["role"] == "user")
    return first.rpartition("Look up:")[2]


def _submit(status: str, summary: str) -> PolicyReply:
    return PolicyReply(tool_calls=(PolicyToolCall("submit", json.dumps({"status": status, "summary": summary})),))
