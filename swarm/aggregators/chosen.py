"""Which aggregator a run has, and those that are made of others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from swarm.agents.desk import Desk
from swarm.aggregators.judge import Judge
from swarm.aggregators.rows import structured_rows
from swarm.aggregators.table import TableAggregator, all_useful
from swarm.aggregators.text import TextAggregator
from swarm.aggregators.vote import VoteAggregator, choose
from swarm.protocols import Aggregator
from swarm.stages import Harvest, Merged

if TYPE_CHECKING:
    from swarm.merging.queue import MergeQueue


def aggregator_for(desk: Desk, queue: MergeQueue | None, given: Aggregator | None = None) -> Aggregator:
    """The aggregator that the configuration asks for, or the given one. With a repository, which has a `queue`, the
    patches are merged in any case, and the words are theirs where nothing else is asked for."""
    words = given or _named(desk)
    if queue is not None:
        from swarm.aggregators.patches import PatchAggregator  # most tasks without a repository never merge

        patches = PatchAggregator(queue)
        return BestOfAggregator(desk, BothAggregator(patches, words) if words else patches)
    if words is None and desk.config.mode == "parl":
        words = PlainAggregator()
    return BestOfAggregator(desk, words or AutoAggregator(desk))


def _named(desk: Desk) -> Aggregator | None:
    match desk.config.aggregate:
        case "text":
            return TextAggregator(desk)
        case "table":
            return TableAggregator(desk)
        case "vote":
            return VoteAggregator(desk)
        case "auto":
            return None


class AutoAggregator:
    """A table where all results of the run were submitted as rows, else a text."""

    def __init__(self, desk: Desk) -> None:
        self._table = TableAggregator(desk)
        self._text = TextAggregator(desk)

    async def merge(self, harvest: Harvest) -> Merged:
        useful = all_useful(harvest)
        tabular = bool(useful) and all(structured_rows(result.result) for result in useful)
        return await (self._table if tabular else self._text).merge(harvest)


class PlainAggregator:
    """The results as they came: for an orchestrator that makes the answer of them itself."""

    async def merge(self, harvest: Harvest) -> Merged:
        titles = harvest.titles
        return Merged("\n\n".join(f"## {titles[r.subtask_id]} ({r.outcome})\n\n{r.text}" for r in harvest.results))


class BothAggregator:
    """The tree of one aggregator, the words of another."""

    def __init__(self, tree: Aggregator, words: Aggregator) -> None:
        self._tree = tree
        self._words = words

    async def merge(self, harvest: Harvest) -> Merged:
        tree, words = await self._tree.merge(harvest), await self._words.merge(harvest)
        return replace(tree, text=words.text, whole=words.whole, void=words.void)


class BestOfAggregator:
    """Keeps the best one of each group of which all went to their end (see `Plan.need`), then hands on."""

    def __init__(self, desk: Desk, inner: Aggregator) -> None:
        self._judge = Judge(desk)
        self._inner = inner

    async def merge(self, harvest: Harvest) -> Merged:
        members: dict[str, set[str]] = {}
        for subtask in harvest.plan.subtasks:
            if subtask.group and subtask.group not in harvest.plan.need:
                members.setdefault(subtask.group, set()).add(subtask.id)
        notes: list[str] = []
        losers: set[str] = set()
        for group, ids in members.items():
            rivals = [result for result in harvest.useful if result.subtask_id in ids]
            if len(rivals) > 1:
                choice = await choose(self._judge, rivals, f"judge-{harvest.stage}-{group}", harvest.stage)
                losers |= {result.subtask_id for result in rivals} - {choice.winner.voters[0]}
                notes.append(f"{group}: {choice.winner.voters[0]} is kept. {choice.why}")
        if not losers:
            return await self._inner.merge(harvest)
        kept = tuple(replace(r, keep=r.keep and r.subtask_id not in losers) for r in harvest.results)
        merged = await self._inner.merge(replace(harvest, results=kept))
        return replace(merged, text="\n\n".join([merged.text, *notes]), passed_over=frozenset(losers))
