"""From the word for a policy (`repair`, `documents`, `script:FILE`) to what the endpoint serves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from swarm.embedded.faults import Faults
from swarm.embedded.policy import Policy
from swarm.embedded.script import ScriptPolicy, load_script
from swarm.errors import UsageError


def load_policies(spec: str) -> tuple[Mapping[str, Policy], Faults | None]:
    """The policies of an endpoint by model name (`NAME`, `embedded` and `embedded:NAME`), and its faults.

    Raises:
        UsageError: there is no such policy, or its script cannot be used.
    """
    kind, _, argument = spec.partition(":")
    if spec == "repair":
        from swarm.embedded.repair.policy import RepairPolicy

        return _named(RepairPolicy()), None
    if spec == "documents":
        from swarm.embedded.documents.policy import DocumentsPolicy

        return _named(DocumentsPolicy()), None
    if kind == "script" and argument:
        script = load_script(Path(argument))
        odd = script.faults or script.limit or script.lacks or script.window
        faults = Faults(script.faults, script.seed, script.limit, script.lacks, script.window) if odd else None
        return _named(ScriptPolicy(script, argument)), faults
    raise UsageError(f"unknown policy '{spec}'", remedy="use `repair`, `documents` or `script:FILE`")


def _named(policy: Policy) -> Mapping[str, Policy]:
    return dict.fromkeys(("embedded", f"embedded:{policy.name}", policy.name), policy)
