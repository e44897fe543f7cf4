"""The funds of a run, as its configuration gives them."""

from __future__ import annotations

from swarm.budgets.budget import Budget, Terms
from swarm.budgets.funds import Funds
from swarm.budgets.levels import Limits
from swarm.config import RunConfig
from swarm.protocols import EventSink


def funds_of(config: RunConfig, sink: EventSink, purse: Budget | None, *, single: bool) -> Funds:
    """What a run may use; of it is kept back what comes after the sub-agents, which one agent alone (`single`) does not
    need. `purse` pays it together with other runs."""
    limits = Limits(config.budget_tokens, config.budget_usd, config.max_critical_steps, config.timeout)
    last_word = int(config.mode == "parl" and not single)
    kept = Terms(part=0.0 if single else config.reserve, steps=last_word, time=config.reserve)
    return Funds(limits, sink, kept, config.soft_limit, purse)
