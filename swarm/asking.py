"""Puts questions to the user as interrupts of the outer loop's graph.

A station that asks is done again from its start after each answer: until the last question it only looks.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Collection
from dataclasses import field
from typing import Any

import anyio

from swarm.approval import Approve, Estimate, Question
from swarm.errors import UsageError
from swarm.events import Answered
from swarm.journal.past import Past
from swarm.journal.totals import Totals
from swarm.mishap import blame_a_part
from swarm.preview import Preview
from swarm.protocols import EventSink
from swarm.scheduling.plan_graph import problems
from swarm.stopping import unless_stopped
from swarm.types import Plan
from swarm.values import value


@value(frozen=True, slots=True)
class Record:
    """Where answers are told, and where those of before are found."""

    sink: EventSink
    past: Past = field(default_factory=Past)


class Approvals:
    """The questions of one run. With no `approve` nothing is asked, and all is answered with yes.

    Before a stage it is asked when more than `ask_usd` dollars were spent; after a yes, when as much more was.
    """

    def __init__(
        self, approve: Approve | None, ask_usd: float | None, totals: Totals, stop: anyio.Event, record: Record
    ) -> None:
        self._approve = approve
        self._step = ask_usd
        self._ask_usd = ask_usd
        if ask_usd is not None and (asked_at := record.past.asked_at()):
            self._ask_usd = asked_at + ask_usd
        self._totals = totals
        self._stop = stop
        self._record = record
        self._open: Question | None = None
        self.declined = ""
        """The kind of question that was answered with no."""

    def __repr__(self) -> str:
        return f"<Approvals: {'asks ' + self._open.kind if self._open else 'nothing asked'}>"

    @property
    def asks(self) -> bool:
        return self._approve is not None

    async def answer(self) -> Any:
        """The user's answer to the open question, in the form that a checkpoint holds. The end of the run is a no, what
        was agreed to before a yes.

        Raises:
            UsageError: it is none that the question can have. It is never taken for a yes.
        """
        assert self._approve is not None
        assert self._open is not None
        approve, question = self._approve, self._open
        if (agreed := self._record.past.answer(question.kind, question.stage)) is not None:
            return agreed.plan.model_dump(mode="json") if agreed.plan is not None else True
        answer: object = await unless_stopped(self._stop, lambda: _asked(approve, question))
        if answer is None and self._stop.is_set():
            return False
        edited = isinstance(answer, Plan) and question.kind == "plan"
        if not isinstance(answer, bool) and not edited:
            allowed = "True, False or a Plan" if question.kind == "plan" else "True or False"
            raise UsageError(
                f"`approve` answered the question about the {question.kind} with {type(answer).__name__}",
                remedy=f"give {allowed}",
            )
        own = answer if isinstance(answer, Plan) else None
        cost, yes = self._totals.cost, answer is not False
        self._record.sink.emit(Answered(kind=question.kind, stage=question.stage, yes=yes, spent_usd=cost, plan=own))
        return own.model_dump(mode="json") if own is not None else answer

    def plan(
        self,
        plan: Plan,
        stage: int,
        max_steps: int,
        earlier: Collection[str],
        room: int,
        preview: Preview | None = None,
    ) -> Plan | None:
        """The plan that the user wants to be run, None for none. `earlier` and `room` as in `plan_graph.problems`.

        Raises:
            UsageError: it is one of the user's own, and cannot be run.
        """
        begun = self._record.past.plan(stage)
        if begun is not None:  # agreed to, and perhaps edited
            return begun.plan
        if not self.asks:
            return plan
        number, spent = len(plan.subtasks), self._totals.cost
        estimate = Estimate(number, number * max_steps, self._totals.usage.total_tokens, spent)
        costly = self._ask_usd is not None and spent is not None and spent >= self._ask_usd
        if costly:
            text = f"the run has cost ${spent:.2f}, over the ${self._ask_usd:g} to ask at: go on with stage {stage}?"
            if self._ask(Question("spending", text, stage, plan, estimate=estimate, preview=preview)) is False:
                return None
        text = f"run {number} sub-agent{'' if number == 1 else 's'} in stage {stage}?"
        answer = self._ask(Question("plan", text, stage, plan, estimate=estimate, preview=preview))
        if costly:
            self._ask_usd = (spent or 0.0) + (self._step or 0.0)
        if not isinstance(answer, dict):
            return plan if answer else None
        edited = Plan.model_validate(answer)
        found = problems(edited, earlier=earlier, room=room) or ([] if edited.subtasks else ["it has no sub-task"])
        if found:
            raise UsageError(f"the plan given in answer cannot be run: {'; '.join(found)}", remedy="mend it")
        return edited

    def patch(self, patch: bytes, stage: int) -> bool:
        """Whether the user wants a patch."""
        text = f"take this patch of {len(patch)} bytes?"
        return not self.asks or self._ask(Question("patch", text, stage, patch=patch)) is not False

    def _ask(self, question: Question) -> Any:
        """Stops the graph here, until it goes on with the answer."""
        from langgraph.types import interrupt  # whoever asks is on its way through the graph

        self._open = question
        held = question.plan.model_dump(mode="json") if question.plan else None
        answer = interrupt({"kind": question.kind, "text": question.text, "stage": question.stage, "plan": held})
        self._open = None
        if answer is False and not self._stop.is_set():
            self.declined = question.kind
        return answer


async def _asked(approve: Approve, question: Question) -> bool | Plan:
    from langgraph.errors import GraphBubbleUp

    try:
        answer = approve(question)
        if not inspect.isawaitable(answer):
            raise UsageError(f"`approve` gave {answer!r} at once, and is awaited", remedy="make it an `async def`")
        return await answer
    except GraphBubbleUp:  # of a graph around the run, which would begin the run anew
        raise UsageError("`approve` interrupts a graph, which a run cannot wait for", remedy="wait in it") from None
    except asyncio.CancelledError as error:
        blame_a_part(error)
        raise
