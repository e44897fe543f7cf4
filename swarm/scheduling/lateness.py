"""Looks for stragglers among the attempts at work, as long as a stage goes on, and asks attempts to finish."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import anyio

from swarm.events import AgentTold
from swarm.protocols import EventSink
from swarm.scheduling.attempts import Attempt, Job
from swarm.scheduling.controls import Controls
from swarm.scheduling.ordering import Durations
from swarm.scheduling.stragglers import FINISH, StragglerPolicy

_SHORTEST_LOOK = 0.001


class Lateness:
    """Of the attempts `at_work`, which the scheduler keeps. `hedge` is given each job that a second attempt is to be
    made at, once."""

    def __init__(
        self,
        policy: StragglerPolicy,
        at_work: Mapping[Attempt, Job],
        controls: Controls,
        sink: EventSink,
        hedge: Callable[[Job], None],
    ) -> None:
        self._policy = policy
        self._at_work = at_work
        self._controls = controls
        self._sink = sink
        self._hedge = hedge
        self._worked = Durations()  # seconds of work
        self._completed = anyio.Event()

    def __repr__(self) -> str:
        return f"<Lateness of {len(self._at_work)} attempts by {self._policy}>"

    def completed(self, attempt: Attempt, kind: str) -> None:
        """An attempt did its work: what others are measured by."""
        self._worked.observe(kind, attempt.seconds)
        self._completed.set()

    async def watch(self) -> None:
        """Tell every straggler, until cancelled."""
        while self._policy.factor > 0:
            if self._policy.limit(self._worked, "") is None:
                self._completed = anyio.Event()
                await self._completed.wait()
            else:
                await anyio.sleep(self._look())

    def tell_to_finish(self, attempt: Attempt, reason: Literal["straggler", "asked"], limit: float = 0.0) -> None:
        """Ask an attempt that has begun to finish with what it has; `limit`: the seconds that it should have taken."""
        attempt.told = True
        attempt.steering.tell(FINISH)
        self._sink.emit(
            AgentTold(
                trajectory_id=attempt.trajectory_id,
                reason=reason,
                text=FINISH,
                seconds=attempt.seconds,
                limit_s=limit,
            )
        )

    def _look(self) -> float:
        """Tell every straggler; gives the seconds after which it is time to look again."""
        again = (self._policy.limit(self._worked, "") or 0.0) / 4  # the limit moves as more of them finish
        soonest = max(_SHORTEST_LOOK, again / 16)  # or a thousand stragglers were a thousand looks at all
        for attempt, job in self._at_work.items() if not self._controls.paused else ():
            limit = self._policy.limit(self._worked, job.subtask.kind)
            if limit is None or attempt.told or job.over or not attempt.trajectory_id:
                continue
            left = limit - attempt.seconds
            if left > 0:
                again = min(again, left)
                continue
            self.tell_to_finish(attempt, "straggler", limit)
            if self._policy.hedge and not job.hedged:
                job.hedged = True
                self._hedge(job)
        return max(soonest, again)
