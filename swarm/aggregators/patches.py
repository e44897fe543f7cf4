"""Merges the patches of a stage by the run's queue, and says of each sub-task what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from swarm.merging.patch import Patch
from swarm.merging.queue import MergeQueue, Settled
from swarm.stages import FOLDED_FROM, Harvest, Merged
from swarm.types import AgentResult

_LONGEST_WORD = 400


class PatchAggregator:
    """What could not be merged is named, with the reason and the commit that holds it."""

    def __init__(self, queue: MergeQueue) -> None:
        self._queue = queue

    async def merge(self, harvest: Harvest) -> Merged:
        settled, titles = await self._queue.settle(harvest), harvest.titles
        repaired = {
            patch.subtask_id: f"by {patch.repair}{'' if patch.changes else ', which left nothing of it to be merged'}: "
            f"{' '.join(patch.summary.split())[:_LONGEST_WORD]}{_undid(patch)}"
            for patch in settled.merged
            if patch.repair
        }
        return Merged(
            text="\n".join(_lines(harvest.results, titles, settled, repaired)),
            commit=settled.commit,
            evicted=settled.reasons,
            left={each.patch.subtask_id: each.patch.commit for each in settled.evicted},
            repaired=repaired,
            repairs=settled.repairs,
            gate=settled.report,
            fault=settled.fault,
        )


def _undid(patch: Patch) -> str:
    return f" [it {'; '.join(patch.undid)}]" if patch.undid else ""


def _lines(
    results: Sequence[AgentResult], titles: Mapping[str, str], settled: Settled, repaired: dict[str, str]
) -> Iterator[str]:
    """One for each result; one for many in a row that say the same, such as why none was started."""
    for (_, told), group in groupby(results, lambda each: (each.outcome, _told(each, settled, repaired))):
        same = [each.subtask_id for each in group]
        if len(same) >= FOLDED_FROM:
            yield f"- {same[0]} to {same[-1]}, {len(same)} sub-tasks: {told}"
        else:
            yield from (f"- {name}, {titles[name]}: {told}" for name in same)


def _told(result: AgentResult, settled: Settled, repaired: dict[str, str]) -> str:
    name, fate = result.subtask_id, ""
    if name in settled.reasons:
        fate = f" (not merged: {settled.reasons[name]})"
    elif name in repaired:
        fate = f" (merged after a repair {repaired[name]})"
    return f"{result.outcome}{fate}. {result.text}"
