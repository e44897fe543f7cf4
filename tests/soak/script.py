"""What the endpoint answers in a soak, and what it does wrong."""

from __future__ import annotations

from typing import Any

WIDTHS = (1, 2, 3, 4)


def _use(tool: str, /, **arguments: object) -> dict[str, Any]:
    return {"tool_calls": [{"name": tool, "arguments": arguments}]}


def _raw(name: str, text: str) -> dict[str, Any]:
    return {"tool_calls": [{"name": name, "raw": text}]}


def _planned(width: int, kind: str) -> dict[str, Any]:
    parts = [{"id": f"p{n}", "title": f"Part {n}", "instructions": f"{kind} part {n}"} for n in range(width)]
    return {"json": {"rationale": "side by side", "subtasks": parts}}


def _delegated(width: int, kind: str) -> list[dict[str, Any]]:
    starts = [{"name": "assign_task", "arguments": {"agent": "w", "prompt": f"{kind} part {n}"}} for n in range(width)]
    return [
        _use("create_subagent", name="w", system_prompt="you write"),
        {"content": "all at once", "tool_calls": starts},
        {"content": "all parts are there"},
    ]


def script(fault_rate: float, seed: int) -> dict[str, Any]:
    """The policy: a task says `mode-M width-N KIND`, where KIND is `calm`, `garbled`, `clash` or `idle`."""
    rules: list[dict[str, Any]] = []
    for kind in ("garbled", "clash", "idle", "calm"):
        for width in WIDTHS:
            told = f"width-{width} {kind}"
            rules.append({"role": "planner", "match": f"mode-parl {told}", "turns": _delegated(width, kind)})
            rules.append({"role": "planner", "match": told, "turns": [_planned(width, kind)]})
    submit = _use("submit", status="done", summary="part {{n}} is written")
    look = _use("bash", command="cat part-{{n}}.txt; ls -la; head -c 20000 /dev/zero | tr '\\\\0' x")
    write = _use("write", path="part-{{n}}.txt", content="part {{n}}\n" * 20)
    garbled = [_raw("bash", '{"command": "cat '), _raw("nothing", "{}"), _raw("write", '{"path": 7}'), write, submit]
    clash = [_use("bash", command="echo {{n}} > shared.txt"), submit]
    idle = [_use("bash", command="sleep 30"), submit]
    for kind, turns in (("garbled", garbled), ("clash", clash), ("idle", idle), ("calm", [write, look, submit])):
        rules.append({"role": "subagent", "match": rf"{kind} part (?P<n>\d+)", "turns": turns})
    alone = [_use("bash", command="echo alone > alone.txt; cat alone.txt"), submit]
    rules.append({"role": "subagent", "turns": alone})
    rules.append({"role": "any", "turns": [{"content": "all parts are there"}]})
    return {"seed": seed, "rules": rules, "faults": _faults(fault_rate)}


def _faults(rate: float) -> list[dict[str, Any]]:
    if not rate:
        return []
    shares: list[tuple[str, float, dict[str, Any]]] = [
        ("rate_limit", 0.30, {"retry_after": 0.05}),
        ("error", 0.20, {}),
        ("cut", 0.20, {}),
        ("malformed", 0.10, {}),
        ("overloaded", 0.08, {"retry_after": 0.05}),
        ("slow", 0.05, {"seconds": 1.0}),
        ("hang", 0.04, {}),
        ("quota", 0.02, {}),
        ("wrong_key", 0.01, {}),
    ]
    return [{"kind": kind, "rate": rate * share, **more} for kind, share, more in shares]
