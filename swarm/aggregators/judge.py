"""A model that ranks answers: asked both ways round, so that the place of an answer does not decide."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
from pydantic import BaseModel, ValidationError

from swarm.agents.desk import Desk
from swarm.errors import BudgetExhausted, EndpointError
from swarm.events import Notice
from swarm.prompts.messages import judge_request, ranking_format
from swarm.stopping import unless_stopped

_CHARACTERS_PER_TOKEN = 3


class _Ranking(BaseModel):
    reason: str = ""
    ranking: list[str]


@dataclass(frozen=True, slots=True)
class Ruling:
    """Candidates by index, the best first; `decided` says that the first is better than the second in all rankings
    together. `reason` is the judge's; `calls` is how many rankings there were, at best 2."""

    order: tuple[int, ...]
    decided: bool
    reason: str
    calls: int


class Judge:
    """Ranks by two model calls, the second with the order of the first reversed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def rank(self, answers: Sequence[str], name: str, stage: int) -> Ruling | None:
        """The ruling on two or more answers, None where no call gave one. `name` is unique in the run."""
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
        return ruling(len(answers), [found for found in rankings if found is not None])

    async def _ask(self, answers: Sequence[str], name: str, stage: int) -> _Ranking | None:
        limit = max(1_000, self._desk.config.merge_room * _CHARACTERS_PER_TOKEN // len(answers))
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
