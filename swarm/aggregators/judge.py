"""A model that ranks answers: asked both ways round, so that the place of an answer does not decide.

Where not all answers go into one request they are ranked in groups, and the best of each go on to the next round.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import anyio
from pydantic import BaseModel, ValidationError

from swarm.agents.desk import Desk
from swarm.errors import BudgetExhausted, EndpointError
from swarm.events import Notice
from swarm.prompts.messages import judge_request, ranking_format
from swarm.stopping import unless_stopped
from swarm.values import value

_CHARACTERS_PER_TOKEN = 3
_LEAST_ROOM = 2_000
_LEAST_SHOWN = 900
"""Characters of an answer that a judge sees at least, where it has so many."""
_ABOUT = 100
"""Characters of a request for each answer beside its own."""


class _Ranking(BaseModel, defer_build=True):
    reason: str = ""
    ranking: list[str]


@value(frozen=True, slots=True)
class Ruling:
    """Candidates by index, the best first; `decided` says that the first is better than the second in all rankings
    together. `reason` is the judge's; `calls` is how many rankings there were, at best 2."""

    order: tuple[int, ...]
    decided: bool
    reason: str
    calls: int


class Judge:
    """Ranks a group by two model calls, the second with the order of the first reversed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._room = max(_LEAST_ROOM, desk.config.merge_room * _CHARACTERS_PER_TOKEN - len(desk.task))

    async def rank(self, answers: Sequence[str], name: str, stage: int) -> Ruling | None:
        """The ruling on two or more answers, None where no call gave one. `name` is unique in the run. Of many answers
        the last round decides: `decided` and `calls` are the worst on the winner's way there."""
        left, out, way = list(range(len(answers))), list[int](), dict[int, list[Ruling | None]]()
        level = 1
        while len(left) > 1:
            found = split(left, max(2, self._room // (_LEAST_SHOWN + _ABOUT)))
            rulings: list[Ruling | None] = [None] * len(found)
            async with anyio.create_task_group() as heats:
                for at, group in enumerate(found):
                    own = name if len(found) == 1 else f"{name}~{level}.{at + 1}"  # no name of a group has a ~
                    if len(group) > 1:
                        heats.start_soon(self._rule, [answers[index] for index in group], own, stage, rulings, at)
            orders = [
                [group[place] for place in (ruled.order if ruled else range(len(group)))]
                for group, ruled in zip(found, rulings, strict=True)
            ]
            for group, order, ruled in zip(found, orders, rulings, strict=True):
                if len(group) > 1:
                    way.setdefault(order[0], []).append(ruled)
            out = [index for order in orders for index in order[1:]] + out
            left, level = [order[0] for order in orders], level + 1
        passed = [ruled for ruled in way[left[0]] if ruled is not None]
        if not passed:
            return None
        sure = len(passed) == len(way[left[0]]) and all(ruled.decided for ruled in passed)
        return Ruling((*left, *out), sure, passed[-1].reason, min(ruled.calls for ruled in passed))

    async def _rule(
        self, answers: Sequence[str], name: str, stage: int, rulings: list[Ruling | None], place: int
    ) -> None:
        seen = list(range(len(answers)))
        random.Random(f"{self._desk.config.seed} {name} {self._desk.task}").shuffle(seen)
        orders = [seen, seen[::-1]]
        rankings: list[tuple[list[int], str] | None] = [None, None]

        async def ask(at: int) -> None:
            work = self._ask([answers[index] for index in orders[at]], f"{name}.{at + 1}", stage)
            rankings[at] = _in_terms_of(await work, orders[at])

        async with anyio.create_task_group() as calls:
            for at in (0, 1):
                calls.start_soon(ask, at)
        rulings[place] = ruling(len(answers), [found for found in rankings if found is not None])

    async def _ask(self, answers: Sequence[str], name: str, stage: int) -> _Ranking | None:
        limit = shown([len(text) for text in answers], self._room - _ABOUT * len(answers))
        lettered = [(letter(place), text) for place, text in enumerate(answers)]

        async def work() -> str:
            async with self._desk.dialogue(name, self._desk.prompts["judge"], stage) as dialogue:
                request = judge_request(self._desk.task, lettered, limit)
                dialogue.say({"role": "user", "content": request})
                return (await dialogue.ask(response_format=ranking_format())).content

        try:
            text = await unless_stopped(self._desk.stop, work)
            body = (text or "").strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
            return _Ranking.model_validate_json(body)
        except (EndpointError, BudgetExhausted) as error:
            reason = error.message
        except ValidationError:
            reason = "the answer is not the JSON object that was asked for"
        if not self._desk.stop.is_set():
            self._desk.sink.emit(Notice(level="warning", message=f"{name}: no ranking: {reason}"))
        return None


def split(indices: Sequence[int], most: int) -> list[list[int]]:
    """Neighbours in as few groups of at most `most`, at least 2, as there can be, all of about the same size."""
    number = -(-len(indices) // most)
    ends = [len(indices) * at // number for at in range(number + 1)]
    return [list(indices[start:end]) for start, end in pairwise(ends)]


def shown(lengths: Sequence[int], room: int) -> int:
    """The length at which texts are cut so that they fit together: short ones leave their room to long ones."""
    for at, length in enumerate(found := sorted(lengths)):
        if length * (len(found) - at) > room:
            return max(1, room // (len(found) - at))
        room -= length
    return max(lengths)


def letter(place: int) -> str:
    """A, B, ..., Z, then A1, B1, ..."""
    return chr(ord("A") + place % 26) + (str(place // 26) if place >= 26 else "")


def _in_terms_of(ranking: _Ranking | None, order: Sequence[int]) -> tuple[list[int], str] | None:
    """The ranked candidates, each once; None where not one letter is known."""
    if ranking is None:
        return None
    place = {letter(at): index for at, index in enumerate(order)}
    ranked = list(
        dict.fromkeys(place[name.strip().upper()] for name in ranking.ranking if name.strip().upper() in place)
    )
    return (ranked, ranking.reason) if ranked else None


def ruling(number: int, rankings: Sequence[tuple[list[int], str]]) -> Ruling | None:
    """Points for places, added up; who is not ranked gets none. The reason is of a ranking that the winner leads."""
    if not rankings:
        return None
    points = [0] * number
    for ranked, _ in rankings:
        for place, index in enumerate(ranked):
            points[index] += number - place
    order = sorted(range(number), key=lambda index: (-points[index], index))
    reasons = [reason for ranked, reason in rankings if ranked[0] == order[0]]
    decided = points[order[0]] > points[order[1]]
    return Ruling(tuple(order), decided, reasons[0] if reasons else "", len(rankings))
