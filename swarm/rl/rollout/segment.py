"""One time that a rollout is worked on: how it is brought to rest, and which versions of the policy answered."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from swarm.events import CallFinished, CallSent, Event, RunStarted, ToolFinished, ToolStarted
from swarm.scheduling.controls import Controls


class Segment:
    """Hand its `observe`, `controls` and `stop` to the run; `begun` is told the run's id."""

    def __init__(self, begun: Callable[[str], None]) -> None:
        self.controls = Controls()
        self.stop = anyio.Event()
        self.versions: list[str] = []
        self._begun = begun
        self._flying = 0
        self._quiet = anyio.Event()

    def __repr__(self) -> str:
        return f"<Segment {self._flying} under way, versions {', '.join(self.versions) or 'none'}>"

    def observe(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._begun(event.run_id)
            case CallSent() | ToolStarted():
                self._flying += 1
            case ToolFinished():
                self._landed()
            case CallFinished():
                self._landed()
                learns = event.accepted and event.untrainable != "frozen"
                if learns and event.policy_version not in self.versions[-1:]:
                    self.versions.append(event.policy_version)
            case _:
                pass

    def _landed(self) -> None:
        self._flying = max(0, self._flying - 1)  # one that an earlier process left has no beginning here
        if self.controls.paused and not self._flying:
            self._quiet.set()

    async def rest(self, grace: float) -> None:
        """Bring it to rest at a turn's end: nothing new begins, what is under way has `grace` seconds; then stop."""
        self.controls.pause()
        if self._flying:
            with anyio.move_on_after(grace):
                await self._quiet.wait()
        self.stop.set()
