"""One frame of the screen: the lines of everything, never more than there is room for."""

from __future__ import annotations

from swarm.cli.outlook import Watcher
from swarm.cli.screen.desk import Desk
from swarm.cli.screen.foot import foot
from swarm.cli.screen.grid import Standing, grid, legend, row
from swarm.cli.screen.head import Traffic, head
from swarm.cli.screen.paint import Pen
from swarm.cli.text import clock
from swarm.cli.view import RunView
from swarm.cli.view_parts import State

_LEAST = 4
"""Lines that the sub-agents keep, whatever else there is to say."""


_TIGHT = 30
"""Below so many lines there are fewer beside the sub-agents."""


def frame(
    view: RunView, watcher: Watcher, desk: Desk, pen: Pen, height: int, now: float, traffic: Traffic | None
) -> list[str]:
    """The whole screen of `height` lines, with what the keys are for in the last one."""
    if desk.helps:
        lines = _help(desk, pen)
    elif desk.log is not None:
        lines = _log(desk, pen, height - 1, now)
    else:
        lines = overview(view, watcher, desk, pen, height - 1, now, traffic)
    lines = lines[: max(0, height - 1)]
    lines += [""] * (height - 1 - len(lines))
    said = pen.line((desk.said, None, "bold")) if desk.said else pen.joined(desk.hint.split(" · "), "dim")
    return [*lines, said][: max(1, height)]


def overview(
    view: RunView,
    watcher: Watcher,
    desk: Desk,
    pen: Pen,
    height: int,
    now: float,
    traffic: Traffic | None = None,
    *,
    last: bool = False,
) -> list[str]:
    """The run as a whole, in at most `height` lines; the `last` time it stays on the terminal."""
    standing = Standing(now, view.paused, watcher, view.endpoint.trouble(now, view.bounds.park))
    tight = height < _TIGHT
    upper = list(head(view, pen, now, watcher.look(now), traffic, tight=tight))
    if states := legend(view, pen, standing):
        upper.append(states)
    if (why := view.rationale(view.stage)) and not view.status and height > len(upper) + len(view.agents) + 6:
        upper.append(pen.line(("plan: " + why, None, "dim")))
    for agent in view.others.values():
        if agent.state is State.WORKING and agent.doing:  # not an orchestrator that waits for its stage
            upper.append(row(agent, pen, standing, min(28, pen.width // 4)))
    lower = foot(view, pen, now, tight=tight, last=last)
    room = max(_LEAST, height - len(upper) - len(lower))
    lines = [*upper, *grid(view, pen, room, standing, desk.selected, desk.layout)]
    return [*lines[: max(1, height - len(lower))], *lower][: max(1, height)]


def _help(desk: Desk, pen: Pen) -> list[str]:
    size = max(len(keys) for keys, _ in desk.help) + 3
    lines = [pen.line(("keys", None, "bold")), ""]
    for keys, text in desk.help:
        first, *rest = pen.wrapped(text, " " * size) if keys else pen.wrapped(text)
        lines += [pen.line((keys, size, "bold"), (first[size:], None, "")) if keys else first, *rest]
    return lines


def _log(desk: Desk, pen: Pen, height: int, now: float) -> list[str]:
    """The log, from its end or from where the user went."""
    agent, log = desk.agent, desk.log
    if agent is None or log is None:
        return []
    lines, room = log.lines(pen), max(1, height - 2)
    desk.page = max(1, room - 1)
    desk.back = min(desk.back, max(0, len(lines) - room))
    end = len(lines) - desk.back
    state = agent.state.value.replace("_", " ") if agent.state is not State.WORKING else agent.doing
    where = f"{end} of {len(lines)} lines" if desk.back else f"{len(lines)} lines"
    title = f"{agent.name} {agent.title}" if agent.title not in ("", agent.name) else agent.name
    about = f"  {state}, {clock(agent.seconds(now))}, {where}  "
    shown = lines[max(0, end - room) : end] or [log.problem or "nothing yet"]
    return [pen.line((title, None, "bold"), (about, None, "dim")), "", *shown]
