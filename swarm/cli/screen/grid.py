"""The sub-agents on the screen: a line each where there is room, else a cell each and lines for some of them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rich.cells import set_cell_size

from swarm.cli.outlook import Watcher
from swarm.cli.screen.paint import AT_WORK, ENDED, LIMITED, PARKED, PAUSED, RESET, Cell, Mark, Pen, cells
from swarm.cli.text import clock, count
from swarm.cli.view import RunView
from swarm.cli.view_parts import AgentView, Phase, State

Key = tuple[int, str]
"""A sub-agent: its stage, and the id of its sub-task."""

CELLS = (28, 20, 14, 10, 4, 3, 1)
"""Sizes of cells, of which the largest is taken that leaves room for lines."""

_LINES = 4
"""So many lines for single agents stay beside the cells, or a part of the room."""

_WIDE = 100
"""From so many cells of width on a line has room for a bar."""

_BAR = 6
_LONG = 10.0
"""Seconds after which it is told how long something has been going on."""

_SHORT = 1.0
"""Seconds that are too short to tell what one waits for."""

_TROUBLE = (State.ERRORED, State.FAILED, State.TIMED_OUT, State.BUDGET_EXHAUSTED)


class Standing(NamedTuple):
    """What of a run matters for how its agents are shown; `now` is Unix seconds, `trouble` that of the endpoint."""

    now: float
    paused: bool
    watcher: Watcher
    trouble: Literal["", "limited", "parked"] = ""


@dataclass(slots=True)
class Layout:
    """What was drawn last, for those who move about in it."""

    keys: Sequence[Key] = ()
    columns: int = 1


def shown_agents(view: RunView) -> dict[Key, AgentView]:
    """Those of this stage, and of others whoever still works; at the end all."""
    agents = view.agents
    if view.status or view.stage <= 1:
        return agents
    return {
        key: agent
        for key, agent in agents.items()
        if key[0] == view.stage or agent.state is State.WORKING or key[0] > view.stage
    }


def grid(view: RunView, pen: Pen, room: int, standing: Standing, selected: Key | None, layout: Layout) -> Iterator[str]:
    """At most `room` lines."""
    agents = shown_agents(view)
    layout.keys, layout.columns = list(agents), 1
    if not agents or room <= 0:
        return
    if len(agents) < room:
        names = _name_width(agents.values(), pen.width)
        yield _header(pen, names)
        for key, agent in agents.items():
            yield row(agent, pen, standing, names, chosen=key == selected)
        return
    size = _cell_size(len(agents), pen.width, room)
    layout.columns = max(1, pen.width // size)
    drawn = list(_cells(agents, pen, standing, size, selected))
    if len(drawn) > room:  # thousands: those who are done give way
        drawn = drawn[: max(1, room - _LINES)]
    yield from drawn
    room -= len(drawn) + 2
    if room <= 0:
        return
    chosen = _chosen(agents, room, selected)
    names = _name_width([agents[key] for key in chosen], pen.width)
    yield _header(pen, names)
    for key in chosen:
        yield row(agents[key], pen, standing, names, chosen=key == selected)
    yield pen.line((f"  and {len(agents) - len(chosen)} more", None, "dim"))


def row(agent: AgentView, pen: Pen, standing: Standing, names: int, *, chosen: bool = False) -> str:
    """One agent in full."""
    glyph, style = mark(agent, pen, standing)
    started = agent.attempt > 0
    steps = f"{agent.steps}/{agent.max_steps}" if agent.max_steps and not agent.state.ended else str(agent.steps)
    line: list[Cell] = [
        (f"{glyph} ", 2, style),
        (_label(agent), names, "" if started else "dim"),
        ((steps if started else "").rjust(8), 8, ""),
        ((count(agent.tokens) if started else "").rjust(8), 8, ""),
        ((clock(agent.seconds(standing.now)) if started else "").rjust(8), 8, "dim"),
    ]
    if pen.width >= _WIDE:
        line.append(("  " + _bar(agent, pen, standing), _BAR + 2, "dim"))
    line += [("  ", 2, ""), (_doing(agent, standing), None, style if agent.state.ended else "")]
    return pen.line(*line, style="reverse" if chosen else "")


def mark(agent: AgentView, pen: Pen, standing: Standing) -> tuple[str, str]:
    """The glyph of an agent's state, and its style."""
    shown = _AT[_at(agent, standing)][0] if agent.state is State.WORKING else ENDED[agent.state]
    return pen.theme.glyph(shown), shown[2]


def legend(view: RunView, pen: Pen, standing: Standing) -> str:
    """How many stand where, each with its glyph."""
    agents = shown_agents(view).values()
    ended = Counter([agent.state for agent in agents])
    at = Counter([_at(agent, standing) for agent in agents if agent.state is State.WORKING])
    counted = [(shown, at[what], name) for what, (shown, name) in _AT.items()]
    counted += [
        (ENDED[state], ended[state], state.value.replace("_", " ")) for state in State if state is not State.WORKING
    ]
    parts: list[Cell] = []
    for shown, number, name in counted:
        if number:
            parts += [(pen.theme.glyph(shown), None, shown[2]), (f" {number} {name}  ", None, "")]
    return pen.line(*parts).rstrip()


_AT: dict[str, tuple[Mark, str]] = {
    Phase.THINKING.value: (AT_WORK[Phase.THINKING], "thinking"),
    Phase.TOOL.value: (AT_WORK[Phase.TOOL], "using tools"),
    "limited": (LIMITED, "rate limited"),
    "parked": (PARKED, "parked"),
    Phase.REFUSED.value: (AT_WORK[Phase.REFUSED], "call failed"),
    Phase.QUEUED.value: (AT_WORK[Phase.QUEUED], "between calls"),
    Phase.STARTING.value: (AT_WORK[Phase.STARTING], "starting"),
    Phase.GROUP.value: (AT_WORK[Phase.GROUP], "with agents of their own"),
    "paused": (PAUSED, "paused"),
}


def _at(agent: AgentView, standing: Standing) -> str:
    """What one at work is at: its phase, or what keeps it from its next call."""
    if agent.phase is Phase.THINKING or agent.phase is Phase.TOOL or agent.phase is Phase.GROUP:
        return agent.phase.value
    if standing.paused:
        return "paused"
    waits = agent.phase is Phase.QUEUED and standing.now - agent.since >= _SHORT
    if standing.trouble and (waits or agent.phase is Phase.REFUSED):
        return standing.trouble
    return agent.phase.value


def _doing(agent: AgentView, standing: Standing) -> str:
    said = agent.doing
    if agent.state.ended:
        if agent.state is not State.COMPLETED:
            how = agent.state.value.replace("_", " ")
            said = f"{how}: {said}" if said and said != how else how
    elif agent.state is State.WORKING:
        at = _at(agent, standing)
        lasts = standing.now - agent.since if agent.since else 0.0
        if at == "paused":
            said = "paused"
        elif at in ("limited", "parked"):
            said = f"{_AT[at][1]}: waits"
        elif agent.phase is Phase.QUEUED and lasts >= _SHORT:
            said = "waits for its next call"
        if lasts >= _LONG and at != "paused":
            said = f"{said} ({clock(lasts)})"
        said = f"{'told to finish; ' if agent.told else ''}{said}"
        if agent.retries:
            said = f"[{agent.retries} failed] {said}"
    return f"[attempt {agent.attempt}] {said}" if agent.attempt > 1 else said


def _bar(agent: AgentView, pen: Pen, standing: Standing) -> str:
    """How far one may be, by those who are done."""
    part = standing.watcher.progress(agent) if agent.state is State.WORKING else None
    if part is None:
        return ""
    full = max(0, min(_BAR, round(part * _BAR)))
    return ("━" * full + "╌" * (_BAR - full)) if pen.theme.glyphs else ("=" * full + "." * (_BAR - full))


def _header(pen: Pen, names: int) -> str:
    figures = "steps".rjust(8) + "tokens".rjust(8) + "time".rjust(8)
    return pen.line(("", 2, ""), ("sub-agent", names, "dim"), (figures, None, "dim"))


def _label(agent: AgentView) -> str:
    return agent.name if agent.title in ("", agent.name) else f"{agent.name} {agent.title}"


def _name_width(agents: Iterable[AgentView], width: int) -> int:
    """Cells for the names: as many as they need, but the figures and what is done now come before titles."""
    needed = max((cells(_label(agent)) for agent in agents), default=0)
    return max(len("sub-agent"), min(needed, (width - 28) // 2))


def _cell_size(number: int, width: int, room: int) -> int:
    for size in CELLS:
        kept = max(_LINES, room // (2 if size > 4 else 4))  # for lines: names are of less use than those
        if size <= width and -(-number // (width // size)) <= room - kept:
            return size
    return 1


def _cells(
    agents: dict[Key, AgentView], pen: Pen, standing: Standing, size: int, selected: Key | None
) -> Iterator[str]:
    columns, theme = max(1, pen.width // size), pen.theme
    dim, end = theme.codes("dim"), RESET if theme.styles else ""
    gap = " " if size > 3 else ""
    glyphs: dict[str, str] = {}  # of the states that there are, styled
    drawn: list[str] = []
    for key, agent in agents.items():
        ended = agent.state is not State.WORKING
        at = agent.state.value if ended else _at(agent, standing)
        glyph = glyphs.get(at)
        if glyph is None:
            glyph = glyphs[at] = theme.styled(*mark(agent, pen, standing))
        rest = ""
        if size > 1:
            rest = (f"{agent.steps:2}" if agent.steps < 100 else "++") if agent.attempt else "  "
            if size > 4:
                rest += " " + _cut(agent.name, size - 5)
        if key == selected:
            drawn.append(theme.styled(mark(agent, pen, standing)[0] + rest, "reverse") + gap)
        else:
            drawn.append(f"{glyph}{dim}{rest}{end}{gap}" if ended and rest else f"{glyph}{rest}{gap}")
    for start in range(0, len(drawn), columns):
        yield "".join(drawn[start : start + columns])


def _cut(name: str, size: int) -> str:
    return name[:size].ljust(size) if name.isascii() else set_cell_size(name, size)


def _chosen(agents: dict[Key, AgentView], room: int, selected: Key | None) -> list[Key]:
    """Whom to show in full, in the order of the plan: the selected one, then those in trouble (the latest ones, a third
    of the room), who waits to send a call again or was told to finish, who has worked longest, who ended last."""
    trouble = heapq.nlargest(
        max(1, room // 3), (key for key, a in agents.items() if a.state in _TROUBLE), key=lambda key: agents[key].ended
    )
    first = dict.fromkeys([*([selected] if selected in agents and selected else []), *trouble])
    order = {key: n for n, key in enumerate(agents)}
    rest = heapq.nsmallest(
        room, (key for key in agents if key not in first), key=lambda key: (*_rank(agents[key]), order[key])
    )
    chosen = [*first, *rest][:room]
    return sorted(chosen, key=order.__getitem__)


def _rank(agent: AgentView) -> tuple[int, float]:
    if agent.state is State.WORKING:
        return (0 if agent.phase is Phase.REFUSED or agent.told else 1), agent.started
    if agent.state is State.WAITING:
        return 3, 0.0
    return (2 if agent.state in _TROUBLE else 4), -agent.ended
