"""Picks one answer out of many: what most say; among equals, what a judge prefers."""

from __future__ import annotations

import json
from collections.abc import Sequence

from swarm.agents.desk import Desk
from swarm.aggregators.judge import Judge
from swarm.aggregators.table import all_useful
from swarm.aggregators.text import NOTHING
from swarm.stages import Harvest, Merged
from swarm.types import AgentResult
from swarm.values import value

_MARKS = "*`\"'.,;:!?"
_MOST_NAMED = 20


@value(frozen=True, slots=True)
class Candidate:
    """One answer, as the first who gave it wrote it, and all who did."""

    text: str
    voters: tuple[str, ...]


@value(frozen=True, slots=True)
class Choice:
    """The winner and, in words, why."""

    winner: Candidate
    why: str


class VoteAggregator:
    """The answer of the majority in all stages. Where no answer has the most votes, a judge ranks those that have."""

    def __init__(self, desk: Desk) -> None:
        self._judge = Judge(desk)

    async def merge(self, harvest: Harvest) -> Merged:
        useful = all_useful(harvest)
        if not useful:
            told = [f"{r.subtask_id} ({r.outcome}): {r.text}" for r in harvest.results]
            return Merged("\n\n".join([NOTHING, *told]), whole=True, void=True)
        choice = await choose(self._judge, useful, f"judge-{harvest.stage}", harvest.stage)
        return Merged(f"{choice.winner.text}\n\n{choice.why}", whole=True)


async def choose(judge: Judge, results: Sequence[AgentResult], name: str, stage: int) -> Choice:
    """One of at least one result. `name` names the judge's calls, and is unique in the run."""
    found = tally([(result.subtask_id, normal(result), result.text) for result in results])
    most, total = len(found[0].voters), len(results)
    best = [candidate for candidate in found if len(candidate.voters) == most]
    votes = f"{most} of {total} {'vote' if total == 1 else 'votes'}"
    if len(best) == 1:
        return Choice(best[0], f"Chosen by {votes}: {_named(best[0].voters)}.{_others(found)}")
    tie = f"{len(best)} answers are even with {votes} each: {_named([candidate.voters[0] for candidate in best])}."
    ruling = await judge.rank([candidate.text for candidate in best], name, stage)
    if ruling is None:
        return Choice(best[0], f"{tie} No judge could be asked; this is the first, {best[0].voters[0]}.")
    winner = best[ruling.order[0]]
    if not ruling.decided:
        return Choice(winner, f"{tie} The judge was undecided; this is {winner.voters[0]}, the first of its best.")
    once = " (asked one way round only)" if ruling.calls < 2 else ""
    reason = f": {ruling.reason}" if ruling.reason else ""
    return Choice(winner, f"{tie} The judge chose {winner.voters[0]}{once}{reason}")


def tally(votes: Sequence[tuple[str, str, str]]) -> list[Candidate]:
    """Candidates out of votes (voter, normal form, text), most votes first, equal ones as they came."""
    texts: dict[str, str] = {}
    voters: dict[str, list[str]] = {}
    for voter, form, text in votes:
        texts.setdefault(form, text)
        voters.setdefault(form, []).append(voter)
    found = [Candidate(texts[form], tuple(who)) for form, who in voters.items()]
    return sorted(found, key=lambda candidate: -len(candidate.voters))  # stable


def normal(result: AgentResult) -> str:
    """An answer as it is compared: a structured one by its value, a text by its words, without case, emphasis, quotes
    and punctuation around them."""
    if result.result is not None:
        return json.dumps(result.result, sort_keys=True, ensure_ascii=False)
    words = [word.strip(_MARKS) for word in result.text.split()]
    return " ".join(filter(None, words)).casefold() or result.text


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _others(found: Sequence[Candidate]) -> str:
    rest = [f"{len(c.voters)} for that of {c.voters[0]}" for c in found[1:]]
    return f" Other votes: {_named(rest)}." if rest else ""
