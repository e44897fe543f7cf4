"""The view of a run as lines for a terminal of a given size. Rows are laid out by hand: a rich table costs far more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from swarm.cli.text import clock, count, hit_rate
from swarm.cli.view import RunView
from swarm.cli.view_parts import AgentView, GateView, State

GLYPHS = {
    State.WAITING: ("·", "dim"),
    State.WORKING: ("▸", "cyan"),
    State.COMPLETED: ("✓", "green"),
    State.FAILED: ("✗", "red"),
    State.ERRORED: ("!", "bold red"),
    State.TIMED_OUT: ("◷", "yellow"),
    State.CANCELLED: ("◌", "yellow"),
    State.BUDGET_EXHAUSTED: ("$", "yellow"),
    State.SKIPPED: ("-", "dim"),
}
URGENCY = {State.WORKING: 0, State.ERRORED: 1, State.FAILED: 2, State.TIMED_OUT: 2, State.BUDGET_EXHAUSTED: 2}
STYLES = {"completed": "green", "partial": "yellow", "cancelled": "yellow"}
LEAST_ROWS = 4
NOTICES = 3


def render(view: RunView, now: float, width: int, height: int) -> Text:
    """At most `height` lines of `width` cells; `now` is Unix seconds."""
    head = [*_head(view, now, width), *_others(view, now, width)]
    tail = _tail(view, now, width)
    room = max(LEAST_ROWS, height - len(head) - len(tail))
    lines = [*head, *_agents(view, now, width, room), *tail][: max(1, height)]
    return Text("\n", no_wrap=True, overflow="crop").join(lines)


def _head(view: RunView, now: float, width: int) -> list[Text]:
    models = ", ".join(dict.fromkeys(view.models.values()))
    name = " · ".join(part for part in (view.run_id, view.mode, models) if part)
    first = _row(
        width, ("swarm ", 6, "bold"), (name, max(0, width - 16), ""), (clock(view.seconds(now)).rjust(10), 10, "bold")
    )
    lines = [first]
    if view.task:
        lines.append(_row(width, (view.task, None, "italic")))
    states = view.states()
    said = [f"{number} {state.value.replace('_', ' ')}" for state in State if (number := states[state])]
    stage = f"stage {view.stage}: " if view.stage else ""
    totals, cost = view.totals, view.totals.cost
    share = f" ({hit_rate(totals.cached_tokens, totals.prompt_tokens)} of prompts cached)"
    cached = share if totals.cached_tokens else ""
    money = f" · ${cost:.2f}" if cost else ""
    agents = f"{len(view.agents)} sub-agents, peak {totals.peak_concurrency}"
    figures = f"{agents} · {totals.total_steps} steps · {count(view.tokens)} tokens{cached}{money}"
    lines.append(_row(width, (f"{stage}{figures}", None, "")))
    if said:
        lines.append(_row(width, (", ".join(said), None, "")))
    if (why := view.rationale(view.stage)) and not view.status:
        lines.append(_row(width, ("plan: " + why, None, "dim")))
    return lines


def _others(view: RunView, now: float, width: int) -> Iterator[Text]:
    for agent in view.others.values():
        if agent.state is State.WORKING and agent.doing:  # not an orchestrator that waits for its stage
            yield _agent(agent, now, width, _name_width([agent], width))


def _agents(view: RunView, now: float, width: int, room: int) -> Iterator[Text]:
    agents = list(view.agents.values())
    if len(agents) < room:
        names = _name_width(agents, width)
        if agents:
            yield _header(width, names)
        yield from (_agent(agent, now, width, names) for agent in agents)
        return
    strip = _strip(agents, width)
    yield from strip
    room = max(1, room - len(strip) - 2)
    order = sorted(range(len(agents)), key=lambda n: (URGENCY.get(agents[n].state, 3), -agents[n].ended, n))
    shown = [agents[n] for n in sorted(order[:room])]
    names = _name_width(shown, width)
    yield _header(width, names)
    yield from (_agent(agent, now, width, names) for agent in shown)
    yield _row(width, (f"  and {len(agents) - len(shown)} more", None, "dim"))


def _strip(agents: Sequence[AgentView], width: int) -> list[Text]:
    """One glyph for each sub-agent, in the order of the plan."""
    lines = []
    for start in range(0, len(agents), max(1, width)):
        text = Text(no_wrap=True)
        for agent in agents[start : start + max(1, width)]:
            text.append(*GLYPHS[agent.state])
        lines.append(text)
    return lines


def _header(width: int, names: int) -> Text:
    figures = "steps".rjust(8) + "tokens".rjust(8) + "time".rjust(8)
    return _row(width, ("", 2, ""), ("sub-agent", names, "dim"), (figures, None, "dim"))


def _agent(agent: AgentView, now: float, width: int, names: int) -> Text:
    glyph, style = GLYPHS[agent.state]
    started = agent.attempt > 0
    steps = f"{agent.steps}/{agent.max_steps}" if agent.max_steps and not agent.state.ended else str(agent.steps)
    doing = agent.doing
    if agent.attempt > 1:
        doing = f"[attempt {agent.attempt}] {doing}"
    if agent.state.ended and agent.state is not State.COMPLETED:
        doing = f"{agent.state.value.replace('_', ' ')}: {doing}" if doing else agent.state.value.replace("_", " ")
    return _row(
        width,
        (f"{glyph} ", 2, style),
        (_label(agent), names, "" if started else "dim"),
        ((steps if started else "").rjust(8), 8, ""),
        ((count(agent.tokens) if started else "").rjust(8), 8, ""),
        ((clock(agent.seconds(now)) if started else "").rjust(8) + "  ", 10, "dim"),
        (doing, None, style if agent.state.ended else ""),
    )


def _label(agent: AgentView) -> str:
    return agent.name if agent.title in ("", agent.name) else f"{agent.name} {agent.title}"


def _name_width(agents: Sequence[AgentView], width: int) -> int:
    """Cells for the names: as many as they need, but the figures and what is done now come before titles."""
    needed = max((cell_len(_label(agent)) for agent in agents), default=0)
    return max(len("sub-agent"), min(needed, (width - 28) // 2))


def _tail(view: RunView, now: float, width: int) -> list[Text]:
    lines = []
    if view.merges:
        merged = sum(merge.merged for merge in view.merges)
        lines.append(_row(width, (f"merged {merged} of {len(view.merges)} patches", None, "")))
        evicted = [merge for merge in view.merges if not merge.merged]
        lines += [_row(width, (f"  ✗ {m.name}: {m.reason}", None, "yellow")) for m in evicted[-3:]]
    gate = view.gate or view.base_gate
    if gate is not None:
        lines.append(_gate(gate, now, width))
    if view.status:
        lines.append(_row(width, (view.status.replace("_", " "), None, STYLES.get(view.status, "red"))))
    else:
        lines += [_row(width, (f"board: {text}", None, "dim")) for text in list(view.board)[-1:]]
        lines += [_row(width, (notice, None, "yellow")) for notice in list(view.notices)[-NOTICES:]]
    return lines


def _gate(gate: GateView, now: float, width: int) -> Text:
    where = "gate on the base" if gate.stage == 0 else "gate"
    if gate.passed is None:
        state, style = f"running {clock(now - gate.started)}", "cyan"
    elif gate.passed:
        state, style = f"passed in {gate.seconds:.1f} s", "green"
    else:
        state, style = ("timed out" if gate.timed_out else f"failed with exit code {gate.exit_code}"), "red"
    if gate.stage == 0 and style == "red":
        style = "yellow"
    return _row(width, (f"{where} {state}", None, style), (f": {gate.command}", None, "dim"))


def _row(width: int, *cells: tuple[str, int | None, str]) -> Text:
    """Cells as (text, size, style), cut or padded to their size; None: as it is, at most what is left."""
    text = Text(no_wrap=True)
    left = width
    for content, size, style in cells:
        room = left if size is None else min(size, left)
        long = cell_len(content) > room
        fitted = set_cell_size(content, room - 1) + "…" if long and room > 1 else content
        if (long and room <= 1) or size is not None:
            fitted = set_cell_size(fitted, room)
        text.append(fitted, style or None)
        left -= cell_len(fitted)
    return text
