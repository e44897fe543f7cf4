"""The upper lines of the screen: what the run is, how far it is, what it may still use, how the endpoint does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from swarm.cli.outlook import Outlook
from swarm.cli.screen.paint import Pen
from swarm.cli.text import clock, count, hit_rate, many
from swarm.cli.view import RunView
from swarm.cli.view_parts import Phase, State

_LOW = 0.2
"""Of a limit, the part that is left from which on it is shown as low."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Admission to the endpoints as this process sees it: calls in flight of so many allowed, and waiting ones; `rate`
    in calls a second, as learnt from refusals; why nothing is admitted."""

    in_flight: int
    window: int
    waiting: int
    rate: float | None = None
    parked: str = ""


def head(
    view: RunView, pen: Pen, now: float, outlook: Outlook, traffic: Traffic | None, *, tight: bool = False
) -> Iterator[str]:
    """The lines; `tight` ones are fewer."""
    models = ", ".join(dict.fromkeys(view.models.values()))
    name = " · ".join(part for part in (view.run_id, view.mode, models) if part)
    state = "  paused" if view.paused and not view.status else ""
    time = clock(view.seconds(now)).rjust(10)
    room = max(0, pen.width - 16 - len(state))
    yield pen.line(("swarm ", 6, "bold"), (name, room, ""), (state, len(state), "bold magenta"), (time, 10, "bold"))
    if view.task:
        yield pen.line((view.task, None, "italic"))
    left, endpoint = _left(view, now), _endpoint(view, traffic) if not view.status else []
    low = "yellow" if left and min(part for _, part in left) <= _LOW else ""
    limits = [f"left: {left[0][0]}", *(text for text, _ in left[1:])] if left else []
    rows = [(_course(view, outlook), ""), (_used(view) + _size(view), ""), (limits, low), (endpoint, "")]
    if tight:
        rows = [(_course(view, outlook) + _size(view), ""), (_used(view) + limits + endpoint, low)]
    for parts, style in rows:
        if parts:
            yield pen.joined(parts, style)
    why = view.endpoint.state(now, view.bounds.park) or (traffic.parked if traffic is not None else "")
    if why and not view.status:
        yield pen.line((why, None, "bold yellow"))


def _course(view: RunView, outlook: Outlook) -> list[str]:
    """How far it is."""
    parts = [f"stage {view.stage}"] if view.stage else []
    if outlook.seconds is not None:
        source = f"{outlook.siblings} done" if outlook.siblings else "preview"
        parts.append(f"~{clock(outlook.seconds)} to go ({source})")
    if view.totals.total_steps:
        more = f", ~{outlook.steps} left" if outlook.steps is not None else ""
        chain = f", {outlook.subtasks} sub-tasks left" if outlook.steps is None and outlook.subtasks > 1 else ""
        parts.append(f"critical path {view.totals.critical_steps}{more}{chain}")
    return parts


def _used(view: RunView) -> list[str]:
    """What it came to so far."""
    totals = view.totals
    parts = [f"{count(view.tokens)} tokens"]
    if totals.cached_tokens:
        parts.append(f"{hit_rate(totals.cached_tokens, totals.prompt_tokens)} cached")
    if cost := totals.cost:
        parts.append(f"${cost:.2f}")
    return parts


def _size(view: RunView) -> list[str]:
    """How much there is of it."""
    parts = [many(view.totals.total_steps, "step")]
    if view.agents:
        parts.append(f"{many(len(view.agents), 'sub-agent')}, peak {view.totals.peak_concurrency}")
    return parts


def _left(view: RunView, now: float) -> list[tuple[str, float]]:
    """What is left of each limit in words, and as a part of it."""
    bounds, totals = view.bounds, view.totals
    found: list[tuple[str, float]] = []

    def add(limit: float, used: float, left: str, of: str) -> None:
        if limit > 0:
            found.append((f"{left} of {of}", max(0.0, 1 - used / limit)))

    tokens = max(0, int(bounds.tokens - view.tokens))
    add(bounds.tokens, view.tokens, count(tokens), f"{count(int(bounds.tokens))} tokens")
    add(bounds.usd, totals.cost_usd, f"${max(0.0, bounds.usd - totals.cost_usd):.2f}", f"${bounds.usd:.2f}")
    steps = totals.critical_steps if bounds.steps else 0
    add(bounds.steps, steps, str(max(0, int(bounds.steps - steps))), f"{bounds.steps:.0f} critical steps")
    gone = max(0.0, (view.ended or now) - bounds.since) if bounds.since else 0.0
    add(bounds.seconds, gone, clock(bounds.seconds - gone), clock(bounds.seconds))
    return found


def _endpoint(view: RunView, traffic: Traffic | None) -> list[str]:
    """How the endpoint does."""
    bounds = view.bounds
    if traffic is None:  # another process makes the run: what its record tells
        everybody = [*view.agents.values(), *view.others.values()]
        flying = sum(a.state is State.WORKING and a.phase is Phase.THINKING for a in everybody)
        traffic = Traffic(flying, int(bounds.in_flight), 0)
    if not traffic.in_flight and not traffic.waiting and not view.agents:
        return []
    of = f" of {traffic.window}" if traffic.window else ""
    parts = [f"{many(traffic.in_flight, 'call')} in flight{of}"]
    if traffic.waiting:
        parts.append(f"{traffic.waiting} waiting")
    if traffic.rate is not None:
        parts.append(f"{traffic.rate:.1f} calls/s let through")
    if bounds.width:
        parts.append(f"{bounds.width:.0f} sub-agents at once")
    return parts
