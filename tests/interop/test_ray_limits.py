"""What holds for all nodes of a Ray cluster together: one budget, to the token; one endpoint, which all leave alone
when it refuses one; and what a node held that died, the others have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Files, make_repo
from tests.interop.ray_machines import AGENTS, CALLS_OF_EACH, Machines, Program, endpoint, of_type, script
from tests.interop.servers import Require
from tests.interop.test_ray import machines

__all__ = ["machines", "make_repo"]

HASTY = 0.1


@pytest.fixture
def program(
    machines: Machines, tmp_path: Path, make_repo: Callable[[Files], Path], require: Require
) -> Iterator[Program]:
    with (
        endpoint(tmp_path, require, script(HASTY)) as url,
        closing(Program(machines, url, make_repo({"a.txt": "a\n"}), tmp_path / "home")) as program,
    ):
        yield program


def used(program: Program) -> int:
    """Tokens, as the budget counts them: a call of which nobody knows what it took counts as it was meant."""
    sent = {(each["call_id"], each["attempt"]): each["tokens"] for each in of_type(program, "call_sent")}
    total: int = 0
    for call in of_type(program, "call"):
        aside = sent.pop((call["call_id"], call["attempt"]), 0)
        tokens = call["usage"]["prompt_tokens"] + call["usage"]["completion_tokens"]
        total += max(tokens, aside) if call["estimated"] else tokens
    return total + int(sum(sent.values()))


def largest(program: Program) -> int:
    """The tokens that were set aside for one call."""
    return max(int(each["tokens"]) for each in of_type(program, "call_sent"))


def limits_reached(program: Program) -> set[str]:
    return {event["level"] for event in of_type(program, "limit")}


@pytest.mark.parametrize("part", [0.35, 0.6])
def test_a_budget_is_kept_to_the_token_and_used_up(program: Program, part: float) -> None:
    """No grant is left lying at a node that does not need it while another is refused."""
    program.end(program.run())
    whole, program.events = used(program), []
    budget = int(whole * part)
    envelope = program.end(program.run("--budget-tokens", str(budget), "--concurrency", str(AGENTS)))
    assert used(program) <= budget
    assert used(program) >= 0.8 * budget - 2 * largest(program)
    assert limits_reached(program) >= {"soft"}
    assert "over" not in limits_reached(program)
    assert envelope["status"] in ("partial", "budget_exhausted")
    assert program.valid(envelope) == ""


def test_what_one_node_is_refused_is_learnt_for_all(program: Program, tmp_path: Path, require: Require) -> None:
    """There are not many more refusals than where one process makes all calls."""
    refused: dict[str, int] = {}
    limit = {"requests": 12, "per_s": 3, "kind": "bucket", "burst": 6}
    for executor in ("local", "ray"):
        program.events = []
        (tmp_path / executor).mkdir()
        with endpoint(tmp_path / executor, require, script(0.0, limit=limit)) as program.url:
            envelope = program.end(program.run("--concurrency", str(AGENTS), executor=executor))
        assert envelope["status"] == "completed"
        refused[executor] = sum(call["error"] == "rate_limited" for call in of_type(program, "call"))
    assert refused["local"] > 0
    assert refused["ray"] <= 2 * refused["local"] + 3, refused


def test_what_a_node_held_that_dies_the_others_have(program: Program, tmp_path: Path, require: Require) -> None:
    """It dies with calls in flight, places at the endpoint, of which there are few, and grants of the budget."""
    budget = 1_000_000
    slow = script(HASTY)
    slow["rules"][1]["first_token_s"] = 2.0
    with endpoint(tmp_path, require, slow) as program.url:
        process = program.run("--budget-tokens", str(budget), "--concurrency", "4", "--max-in-flight", "3")
        program.follow(process, busy)
        program.machines.kill_one()
        envelope = program.end(process)
    assert envelope["status"] == "completed"
    assert envelope["coverage"]["useful"] == AGENTS
    assert [end for end in of_type(program, "agent_end") if end["stop"] == "node_lost"]
    assert all(call["estimated"] for call in of_type(program, "call") if call["error"] == "lost")
    ends = [(call["call_id"], call["attempt"]) for call in of_type(program, "call")]
    assert sorted(ends) == sorted((each["call_id"], each["attempt"]) for each in of_type(program, "call_sent"))
    assert sum(call["accepted"] for call in of_type(program, "call")) >= AGENTS * CALLS_OF_EACH
    assert used(program) <= budget
    assert program.valid(envelope) == ""


def busy(events: list[dict[str, Any]]) -> bool:
    """All nodes are at work, and have calls in flight: those that came first had all there was to do at first."""
    if sum(event["type"] == "agent_end" for event in events) < 3:
        return False
    sent = sum(event["type"] == "call_sent" for event in events)
    return bool(sent - sum(event["type"] == "call" for event in events) >= 1)
