"""Merges texts into one answer by a model: in one call, or by a tree of calls where they exceed what one may hold.

Nothing is dropped silently: every call says which sources it used, and what a merge lost is named in the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from swarm.agents.desk import Desk, Dialogue
from swarm.aggregators.reduction import Part, groups, pieces, read_answer, side_by_side
from swarm.calls import ModelReply
from swarm.documents.overview import MERGING
from swarm.errors import BudgetExhausted, EndpointError, EndpointFault
from swarm.events import Notice
from swarm.prompts.messages import merge_request, sources_lost
from swarm.stages import Harvest, Merged
from swarm.stopping import unless_stopped

_CHARACTERS_PER_TOKEN = 3
_LEAST_ROOM = 2_000

NOTHING = "There is no answer: no sub-task came to a result of use."


class TextAggregator:
    """The answer so far and the results of a stage become one text; where they cannot be merged, they stand as they
    are, one after the other."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def merge(self, harvest: Harvest) -> Merged:
        titles, useful = harvest.titles, harvest.useful
        last = harvest.earlier[-1].merged if harvest.earlier else Merged("")
        before = "" if last.void else last.text
        if not useful and before:
            return Merged(before, whole=True)
        if not useful:
            return Merged(f"{NOTHING}\n\n{side_by_side(_in_vain(harvest))}", whole=True, void=True)
        if len(useful) == 1 and not before:
            return Merged(useful[0].text, whole=True)
        reduction = Reduction(self._desk, harvest.stage)
        parts = [part for r in useful for part in reduction.pieces(r.subtask_id, titles[r.subtask_id], r.text)]
        if before:
            parts = [*reduction.pieces("answer/before", "the answer so far", before), *parts]
        return Merged(await reduction.run(parts), whole=True)


class Reduction:
    """One tree of merge calls. Calls of a level run at once; the order of the parts is kept throughout."""

    def __init__(self, desk: Desk, stage: int) -> None:
        self._desk = desk
        self._stage = stage
        self._room = max(_LEAST_ROOM, desk.config.merge_room * _CHARACTERS_PER_TOKEN - len(desk.task))
        self._closed = False  # no more calls: the budget is gone, or the run is asked to stop
        self._aside: list[Part] = []  # what could not be merged
        self._lost: set[str] = set()

    def pieces(self, source: str, title: str, text: str) -> list[Part]:
        return pieces(source, title, text, self._room // 2)

    async def run(self, parts: Sequence[Part]) -> str:
        """The merged text, with what could not be merged after it, and a note of what was lost."""
        order = {source: at for at, part in enumerate(parts) for source in part.sources}
        left, level = list(parts), 0
        while len(left) > 1 and not self._closed:
            level += 1
            left = await self._level(left, level)
        left = sorted([*left, *self._aside], key=lambda part: min(order[source] for source in part.sources))
        text = left[0].text if len(left) == 1 else side_by_side(left)
        if self._lost:
            lost = ", ".join(sorted(self._lost, key=order.__getitem__))
            text += f"\n\nNot shown to be covered by this answer: {lost}. The run's record holds their results."
        return text

    async def _level(self, parts: Sequence[Part], level: int) -> list[Part]:
        found = groups(parts, self._room)
        merged: list[list[Part]] = [[] for _ in found]

        async def work(at: int) -> None:
            # The last call, often the only one, has the plain name.
            name = f"aggregator-{self._stage}" + (f".{level}.{at + 1}" if len(found) > 1 else "")
            merged[at] = await self._merge(found[at], name)

        async with anyio.create_task_group() as calls:
            for at in range(len(found)):
                calls.start_soon(work, at)
        return [part for group in merged for part in group]

    async def _merge(self, group: list[Part], name: str) -> list[Part]:
        if len(group) == 1:
            return group
        self._closed = self._closed or self._desk.stop.is_set()
        if self._closed:
            self._aside += group
            return []
        reason = "the model gave no whole answer"
        try:
            merged = await unless_stopped(self._desk.stop, lambda: self._ask(group, name))
            if merged is not None:
                return [merged]
            self._closed = self._closed or self._desk.stop.is_set()
        except EndpointError as error:
            if error.kind is EndpointFault.CONTEXT_TOO_LONG and len(group) > 2:
                self._room = max(_LEAST_ROOM, min(self._room, sum(len(part.text) for part in group) // 2))
                half = len(group) // 2
                return [*await self._merge(group[:half], f"{name}a"), *await self._merge(group[half:], f"{name}b")]
            reason = error.message
        except BudgetExhausted as error:
            self._closed, reason = True, error.message
        if not self._desk.stop.is_set():
            sources = ", ".join(source for part in group for source in part.sources)
            message = f"not merged by a model, and given as they are: {sources}: {reason}"
            self._desk.sink.emit(Notice(level="warning", message=message))
        self._aside += group
        return []

    async def _objection(self, text: str, dialogue: Dialogue) -> str:
        """What is to be said of the sources in a text; where the journal holds what came of it, that was said."""
        if (auditor := self._desk.auditor) is None or dialogue.recorded:
            return "go on" if auditor is not None else ""
        return await auditor.objection(text, dialogue.trajectory_id, scope="")

    async def _ask(self, group: Sequence[Part], name: str) -> Part | None:
        held = [source for part in group for source in part.sources]
        async with self._desk.dialogue(name, self._desk.prompts["aggregator"], self._stage) as dialogue:
            task = self._desk.task if self._desk.auditor is None else f"{self._desk.task}\n\n{MERGING}"
            request = merge_request(task, [(part.heading, part.text) for part in group], held)
            dialogue.say({"role": "user", "content": request})
            text, covered = read_answer(_whole(await dialogue.ask()), held)
            if text and len(covered) < len(held):
                again = await _ask_again(dialogue, sources_lost([each for each in held if each not in covered]))
                text, covered = max((text, covered), read_answer(again, held), key=lambda answer: len(answer[1]))
            if text and (told := await self._objection(text, dialogue)):
                second = read_answer(await _ask_again(dialogue, told), held)
                if second[0] and len(second[1]) >= len(covered):
                    text, covered = second
        if not text:
            return None
        self._lost |= {source for source in held if source not in covered}
        # What was lost is not asked for again further up: it is named already.
        return Part(", ".join(covered or held), text, tuple(covered or held[:1]))


def _in_vain(harvest: Harvest) -> list[Part]:
    """Results without use. What is the same word of many, such as why none was started, is said once."""
    same: dict[tuple[str, str], list[str]] = {}
    for result in harvest.results:
        same.setdefault((result.text, result.outcome.value), []).append(harvest.titles[result.subtask_id])
    return [Part(f"{'; '.join(titles)} ({outcome})", text, ()) for (text, outcome), titles in same.items()]


async def _ask_again(dialogue: Dialogue, told: str) -> str:
    dialogue.say({"role": "user", "content": told})
    try:
        return _whole(await dialogue.ask())
    except (EndpointError, BudgetExhausted):  # what was answered before is still good
        return ""


def _whole(reply: ModelReply) -> str:
    """An answer that was not cut off at a limit."""
    return "" if reply.finish_reason == "length" else reply.content.strip()
