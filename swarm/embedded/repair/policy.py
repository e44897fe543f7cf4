"""The policy `repair`: plays planner, sub-agent and aggregator by search in place of a language model."""

from __future__ import annotations

from typing import Any

from swarm.embedded.policy import PolicyReply, PolicyRequest
from swarm.embedded.repair import planner, prompt
from swarm.embedded.repair.worker import Worker


class RepairPolicy:
    """Repairs Python programs whose pytest tests fail. Implements `swarm.embedded.policy.Policy`."""

    name = "repair"

    def reply(self, request: PolicyRequest) -> PolicyReply:
        """The next turn; which role is meant shows in what the request offers."""
        if (request.response_format or {}).get("type") == "json_schema":
            return PolicyReply(planner.plan_json(prompt.user_text(request.messages)))
        if request.tools:
            offered = {t.get("function", {}).get("name") for t in request.tools}
            if offered >= {"bash", "write", "edit", "submit"}:
                return Worker(request.messages, graded=_graded(request.tools)).turn()
            return PolicyReply(f"{planner.WHAT_I_AM}: I can only work with the tools bash, write, edit and submit.")
        return PolicyReply(_joined(prompt.user_text(request.messages)))


def _graded(tools: tuple[dict[str, Any], ...]) -> bool:
    """Whether `submit` takes a status (done, partial, failed) in place of a success flag."""
    submit = next(t["function"] for t in tools if t.get("function", {}).get("name") == "submit")
    return "status" in submit.get("parameters", {}).get("properties", {})


def _joined(text: str) -> str:
    """The results that the aggregator was given, without the rest of its prompt."""
    results = prompt.results(text)
    told = "\n\n".join(f"{head}: {body}" for head, body in results) if results else text.strip()
    return f"{planner.WHAT_I_AM}; I only put the results together.\n\n{told}"
