"""The report over all instances, with the official names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swarm.evals.suite import Verdict
from swarm.evals.swebench.grading import EMPTY, LATE, REFUSED

_ENVIRONMENT = "environment"
"""How the package calls a reason that no patch can be the cause of."""

HANDED_IN = "handed_in"
"""In the details of what could not be graded: there is something to grade."""


def totals(verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, Any]:
    """What the official harness writes of a run; of several trials of an instance the first one counts. A patch that
    does not apply, and tests whose time was up, are errors there, and so is what was handed in and the machine could
    not grade; a run that it failed handed in nothing."""
    ids: dict[str, set[str]] = {
        name: set()
        for name in (
            *("submitted", "completed", "incomplete", "resolved", "unresolved"),
            *("empty_patch", "error", "infra_failure", "ambiguous_failure"),
        )
    }
    reasons: dict[str, str] = {}
    for id, trials in verdicts.items():
        if not trials or (trials[0].resolved is None and not trials[0].details.get(HANDED_IN)):
            ids["incomplete"].add(id)
            continue
        ids["submitted"].add(id)
        verdict = trials[0]
        kind = verdict.details.get("kind", "")
        if kind == EMPTY:
            ids["empty_patch"].add(id)
            continue
        if verdict.resolved is None or kind in (REFUSED, LATE):
            ids["error"].add(id)
        else:
            ids["completed"].add(id)
            ids["resolved" if verdict.resolved else "unresolved"].add(id)
        reason = verdict.details.get("failure_reason")
        if reason and not verdict.resolved:
            reasons[id] = reason[0]
            ids["infra_failure" if reason[1] == _ENVIRONMENT else "ambiguous_failure"].add(id)
    counts = {f"{name}_instances": len(found) for name, found in ids.items() if name != "incomplete"}
    return {
        "total_instances": len(verdicts),
        **counts,
        **{f"{name}_ids": sorted(found) for name, found in ids.items()},
        "failure_reasons": dict(sorted(reasons.items())),
        "schema_version": 2,
    }
