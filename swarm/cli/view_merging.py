"""The merge queue and the gate of a view: folded from their records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from swarm.cli.text import line
from swarm.cli.view_parts import GateView, MergeView
from swarm.events import (
    CulpritSought,
    Event,
    GateFinished,
    GateStarted,
    MergeTried,
    PatchMerged,
    RepairsStarted,
    RunEnded,
)


@dataclass
class MergingView:
    """Fold events with `apply`. `last` is the last word on each sub-task's patch, `trials` whether it merged on trial,
    `repairs` names the sub-tasks whose patches are being repaired; `suspects` is among how many patches a culprit is
    looked for, 0 while none is. `gate` is the last run of the gate on a merged tree, `base_gate` that on the base."""

    last: dict[str, MergeView] = field(default_factory=dict)
    trials: dict[str, bool] = field(default_factory=dict)
    repairs: dict[str, str] = field(default_factory=dict)
    suspects: int = 0
    gate: GateView | None = None
    base_gate: GateView | None = None

    def apply(self, event: Event) -> None:
        """Take in one event; those that are about something else change nothing."""
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            handler(self, event)

    def forget(self, subtasks: set[str]) -> None:
        """What was said of these no longer counts: they are merged again."""
        for name in subtasks:
            self.last.pop(name, None)
            self.trials.pop(name, None)
            self.repairs.pop(name, None)
        self.suspects = 0

    @property
    def told(self) -> str:
        """How the queue stands, in a line; empty where it has nothing yet."""
        if self.last:
            merged = sum(merge.merged for merge in self.last.values())
            evicted = len(self.last) - merged - len(self.repairs)
            parts = [f"merged {merged} of {len(self.last)} patch{'' if len(self.last) == 1 else 'es'}"]
            parts += [f"{evicted} evicted"] * (evicted > 0)
        elif self.trials:
            conflicts = len(self.trials) - sum(self.trials.values())
            parts = [f"merge: {len(self.trials)} tried", *([f"{conflicts} in conflict"] if conflicts else [])]
        else:
            return ""
        parts += [f"{len(self.repairs)} being repaired"] * bool(self.repairs)
        parts += [f"what broke the gate is looked for among {self.suspects}"] * bool(self.suspects)
        return " · ".join(parts)

    def _tried(self, event: MergeTried) -> None:
        self.trials[event.subtask_id] = event.clean

    def _merged(self, event: PatchMerged) -> None:
        self.repairs.pop(event.subtask_id, None)
        self.last.pop(event.subtask_id, None)  # the order is that of the last words
        self.last[event.subtask_id] = MergeView(
            line(event.subtask_id, 64), event.merged, len(event.files), line(event.reason), line(event.repair, 64)
        )

    def _sought(self, event: CulpritSought) -> None:
        self.suspects = 0 if event.found else event.patches

    def _repairing(self, event: RepairsStarted) -> None:
        self.repairs |= {line(whose, 64): line(repair, 64) for repair, whose in event.repairs.items()}

    def _gate_told(self, event: GateStarted | GateFinished) -> None:
        if event.stage == 0:
            self.base_gate = GateView(event)
        else:
            self.gate = GateView(event)
        if isinstance(event, GateFinished) and event.purpose == "verdict" and event.settled:
            self.suspects = 0

    def _run_ended(self, event: RunEnded) -> None:
        """Nothing of it goes on."""
        self.suspects = 0
        self.repairs.clear()
        for gate in (self.gate, self.base_gate):
            if gate is not None:
                gate.left = gate.passed is None


_HANDLERS: dict[str, Callable[[MergingView, Any], None]] = {
    "merge_trial": MergingView._tried,
    "merge": MergingView._merged,
    "bisect": MergingView._sought,
    "repairs": MergingView._repairing,
    "gate_start": MergingView._gate_told,
    "gate": MergingView._gate_told,
    "run_end": MergingView._run_ended,
}
