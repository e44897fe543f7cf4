"""How far an evaluation is, in words."""

from __future__ import annotations

from swarm.cli.text import count as short
from swarm.cli.text import line as one_line
from swarm.evals.records import TrialResult
from swarm.evals.runner.tally import Count, Progress, failures

_MOST = 4


def head(progress: Progress, now: float) -> str:
    """The whole in a line: done, resolved, cost, rate, what is left."""
    counted = progress.count()
    parts = [f"{counted.graded + counted.errored} of {counted.asked} trials", _verdicts(counted)]
    if counted.errored:
        parts.append(f"{counted.errored} failed by the machine")
    parts.append(spent(counted))
    if progress.done:
        rate = progress.per_hour(now)
        parts.append(f"{rate:.0f} an hour" if rate >= 10 else f"{rate:.1f} an hour")
        left = progress.left_s(now)
        if left:
            parts.append(f"about {duration(left)} left")
    return " · ".join(filter(None, parts))


def at_work(progress: Progress) -> str:
    """What is going on now."""
    names = sorted({key[0] for key in progress.running})
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    running = f"{len(progress.running)} running: {', '.join(names[:_MOST])}{more}" if names else "none running"
    return f"{running} · {len(progress.grading)} being graded" if progress.grading else running


def why_not(progress: Progress) -> str:
    """Trials that are not resolved, by kind; empty where there are none."""
    kinds = failures(progress.trials.values())
    return ", ".join(f"{number} {one_line(kind, 40)}" for kind, number in kinds.most_common(6))


def resolved(counted: Count) -> str:
    """The part that is resolved, with its interval where there is one."""
    rate = counted.rate
    if rate is None:
        return _verdicts(counted)
    bounds = "" if rate.low is None or rate.high is None else f" ({100 * rate.low:.0f} to {100 * rate.high:.0f} %)"
    return f"{_verdicts(counted)}: {100 * rate.value:.1f} %{bounds}"


def _verdicts(counted: Count) -> str:
    return f"{counted.resolved} of {counted.graded} resolved" if counted.graded else "no verdict yet"


def spent(counted: Count) -> str:
    """Dollars where they are known, and tokens."""
    tokens = f"{short(counted.tokens)} tokens" if counted.tokens else ""
    return ", ".join(filter(None, (f"${counted.cost_usd:.2f}" if counted.cost_usd else "", tokens)))


def trial(line: TrialResult) -> str:
    """One line of the results."""
    verdict = {True: "resolved", False: "not resolved", None: "no verdict"}[line.resolved]
    why = one_line(line.error or str(line.details.get("kind", "")), 160)
    name = f"{line.instance_id} {line.arm}" + (f" #{line.epoch}" if line.epoch > 1 else "")
    cost = f"${line.cost_usd:.3f}" if line.cost_usd else ""
    took = duration(line.wall_s) if line.wall_s else ""
    return " · ".join(filter(None, (one_line(name), verdict + (f" ({why})" if why else ""), took, cost)))


def duration(seconds: float) -> str:
    """12 s, 4 min, 3 h 05 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"
