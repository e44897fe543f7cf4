"""The lower lines of the screen: merges, the gate, what was said."""

from __future__ import annotations

from swarm.cli.screen.paint import Pen
from swarm.cli.text import clock
from swarm.cli.view import RunView
from swarm.cli.view_parts import GateView

_STYLES = {"completed": "green", "partial": "yellow", "cancelled": "yellow"}
_EVICTED = 3
_NOTICES = 3


def foot(view: RunView, pen: Pen, now: float, *, tight: bool = False, last: bool = False) -> list[str]:
    """The lines, the most important one last; `tight` ones are fewer. After the `last` frame the error is told."""
    lines = []
    if told := view.merging.told:
        lines.append(pen.joined(told.split(" · ")))
        evicted = [m for m in view.merges if not m.merged and m.name not in view.merging.repairs]
        cross, most = "✗" if pen.theme.glyphs else "x", 1 if tight else _EVICTED
        lines += [pen.line((f"  {cross} {m.name}: {m.reason}", None, "yellow")) for m in evicted[-most:]]
    gate = view.gate or view.base_gate
    if gate is not None:
        lines.append(_gate(gate, pen, now))
    if view.status:
        why = f": {view.error}" if view.error and not last else ""
        lines.append(pen.line((view.status.replace("_", " ") + why, None, _STYLES.get(view.status, "red"))))
    else:
        lines += [pen.line((f"board: {text}", None, "dim")) for text in list(view.board)[-1:]]
        lines += [pen.line((notice, None, "yellow")) for notice in list(view.notices)[-1 if tight else -_NOTICES :]]
    return lines


def _gate(gate: GateView, pen: Pen, now: float) -> str:
    state, style = gate.state, "green"
    if gate.passed is None:
        state, style = (state, "yellow") if gate.left else (f"{state} {clock(now - gate.event.t)}", "cyan")
    elif not gate.passed:
        style = "red" if gate.event.stage else "yellow"
    return pen.line((f"{gate.name} {state}", None, style), (f": {gate.command}", None, "dim"))
