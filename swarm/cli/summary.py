"""The words at the end of a run, and those before a dry one."""

from __future__ import annotations

import os
from collections.abc import Iterable

from swarm.cli.forecast import outcome_line, preview_lines
from swarm.cli.text import clock, count, hit_rate, line, many
from swarm.cli.view import RunView
from swarm.config import RunConfig
from swarm.journal.gate_words import words
from swarm.journal.totals import Totals
from swarm.legible import clean
from swarm.models.pricing import known_price
from swarm.preview import Preview
from swarm.result import RunResult
from swarm.types import Plan, RunStatus


def answer_text(result: RunResult) -> str:
    """The answer, fit for a terminal."""
    return clean(result.answer).strip()


def was_dry(result: RunResult) -> bool:
    """Whether it was a dry run: no other is completed while results are missing."""
    return result.status is RunStatus.COMPLETED and result.coverage.missing > 0


def summary_lines(
    result: RunResult, view: RunView, config: RunConfig | None = None, *, dry_run: bool = False
) -> list[str]:
    """How the run went, in a few lines; of a dry run, nothing about sub-agents."""
    coverage, usage = result.coverage, result.usage
    share = f" ({hit_rate(usage.cached_tokens, usage.prompt_tokens)} of the prompts)"
    cached = f", {count(usage.cached_tokens)} cached{share}" if usage.cached_tokens else ""
    calls = many(usage.calls, "call")
    tokens = f"{count(usage.prompt_tokens)} + {count(usage.completion_tokens)} tokens{cached}, {calls}"
    lines = [f"status: {result.status.value} (exit code {result.exit_code})"]
    if not (dry_run or was_dry(result)):
        lines.append(
            f"sub-agents: {coverage.useful} useful of {coverage.asked} asked"
            + (f", {coverage.missing} missing" if coverage.missing else "")
            + _outcomes(result.outcomes)
        )
    if result.gate is not None:
        last = view.totals.last_gate
        told = f" ({line(words(last), 1000)})" if last and last.passed == result.gate.passed and words(last) else ""
        lines.append(f"gate: {'passed' if result.gate.passed else 'FAILED'}: {line(result.gate.command)}{told}")
    else:
        lines += _untested(result, view)
    waited = f" (waited for you {clock(view.waited)})" if view.waited >= 1 else ""
    lines += [
        f"time: {clock(result.wall_s)}{waited}, peak {result.peak_concurrency} at once, "
        f"{result.critical_steps} critical of {result.total_steps} steps",
        f"usage: {tokens}, {_cost(result.cost_usd, view, config)}",
        *filter(None, [outcome_line(view.held) if view.held else ""]),
        f"run: {result.run_id} ({result.run_dir})",
    ]
    return lines


def _untested(result: RunResult, view: RunView) -> list[str]:
    """What is to be said of a gate that has no word on the answer."""
    if view.totals.gate_left_out or not view.test:
        return []
    if result.patch_path is not None:
        how = "not finished" if view.gate is not None and view.gate.passed is None else "not run"
        return [f"gate: {how}: the patch is untested"]
    if view.base_gate is not None and view.base_gate.passed is not None:
        return [f"gate on the base: {'passed' if view.base_gate.passed else 'FAILED'}: {line(view.base_gate.command)}"]
    return []


def plan_lines(plan: Plan, config: RunConfig, preview: Preview | None = None) -> list[str]:
    """A plan that was not run, what running it may cost at most, and what it probably will."""
    lines = [clean(plan.rationale).strip()] if plan.rationale.strip() else []
    for task in plan.subtasks:
        after = f" (after {line(', '.join(task.depends_on))})" if task.depends_on else ""
        files = f" [{line(', '.join(task.files))}]" if task.files else ""
        lines.append(f"{line(task.id)}: {line(task.title)}{after}{files}")
    number = len(plan.subtasks)
    lines.append(
        f"{number} sub-agent{'' if number == 1 else 's'}, {min(number, config.concurrency)} at once, "
        f"at most {number * config.max_steps} model calls in this stage and {config.rounds} stages"
    )
    found = f" (found by {line(config.test_found, 400)})" if config.test_found else ""
    lines.append(f"gate: {line(config.test)}{found}" if config.test else "gate: none (--test CMD)")
    budget = [
        f"{config.budget_tokens} tokens" if config.budget_tokens else "",
        f"${config.budget_usd:g}" if config.budget_usd else "",
    ]
    limits = " and ".join(part for part in budget if part)
    lines.append(f"budget: {limits}" if limits else "budget: none set (--budget-usd, --budget-tokens)")
    model = config.model_of("subagent")
    price = known_price(model, config, os.environ) if model else None
    if price is None:
        lines.append(f"cost unknown (no price for {line(model or 'the model')})")
    else:
        lines.append(
            f"price of {line(model or '')}: ${price.prompt:g} in, ${price.completion:g} out per million tokens"
        )
    return [*lines, *(preview_lines(preview) if preview else [])]


def as_it_is(config: RunConfig, totals: Totals) -> RunConfig:
    """The configuration without a gate where that was left out."""
    return config.model_copy(update={"test": None, "test_found": ""}) if totals.gate_left_out else config


def _outcomes(outcomes: dict[str, int]) -> str:
    rest = [f"{number} {name.replace('_', ' ')}" for name, number in sorted(outcomes.items()) if number]
    return f" ({', '.join(rest)})" if rest else ""


def _cost(cost: float | None, view: RunView, config: RunConfig | None) -> str:
    if cost is not None:
        return f"${cost:.4f}"
    models = _unpriced(view, config)
    return f"cost unknown (no price for {', '.join(models)})" if models else "cost unknown"


def _unpriced(view: RunView, config: RunConfig | None) -> list[str]:
    named: Iterable[str] = view.totals.unpriced or view.models.values()
    return sorted({line(name) for name in named} or ({line(config.model)} if config and config.model else set()))
