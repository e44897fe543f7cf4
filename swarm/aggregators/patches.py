"""Merges the patches of a stage one after the other; one that conflicts is evicted, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swarm.events import PatchMerged
from swarm.protocols import EventSink, Repository
from swarm.stages import Harvest, Merged
from swarm.types import AgentResult


class PatchAggregator:
    """Three-way merges in the plan's order, so that the same results always give the same tree."""

    def __init__(self, repository: Repository, sink: EventSink) -> None:
        self._repository = repository
        self._sink = sink

    async def merge(self, harvest: Harvest) -> Merged:
        results, titles = harvest.results, harvest.titles
        merged = harvest.onto or self._repository.base
        evicted: dict[str, str] = {}
        for result in results:
            if not (result.keep and result.commit):
                continue
            files = await self._repository.changed_files(f"{result.commit}^", result.commit)
            message = f"Merge {result.subtask_id}: {titles[result.subtask_id]}"
            commit, conflict = await self._repository.merge(merged, result.commit, message=message)
            if commit is None:
                evicted[result.subtask_id] = f"conflict with what was merged before in {conflict}"
            self._sink.emit(
                PatchMerged(
                    stage=harvest.stage,
                    subtask_id=result.subtask_id,
                    merged=commit is not None,
                    commit=commit or "",
                    files=list(files),
                    reason=evicted.get(result.subtask_id, ""),
                )
            )
            merged = commit or merged
        return Merged(text=_account(results, titles, evicted), commit=merged, evicted=evicted)


def _account(results: Sequence[AgentResult], titles: Mapping[str, str], evicted: Mapping[str, str]) -> str:
    lines = []
    for result in results:
        fate = f" (not merged: {evicted[result.subtask_id]})" if result.subtask_id in evicted else ""
        lines.append(f"- {result.subtask_id}, {titles[result.subtask_id]}: {result.outcome}{fate}. {result.text}")
    return "\n".join(lines)
