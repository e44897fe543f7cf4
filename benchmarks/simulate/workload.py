"""What agents do: their turns, tokens and tools, drawn once by seed, and the same in a simulated run and a real one.

All are log-normal, as lengths of answers and times of tools are in what is published of traces (heavy tails, no
negative values): `median * exp(sigma * N(0, 1))`, within bounds. An agent depends on nothing but the seed and its
number.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Draw:
    """A log-normal number within bounds."""

    median: float
    sigma: float
    least: float
    most: float

    def of(self, rng: Random) -> float:
        return min(self.most, max(self.least, self.median * rng.lognormvariate(0.0, self.sigma)))


@dataclass(frozen=True, slots=True)
class Turn:
    """One call of the model, and the tool that follows it (0 seconds for the last)."""

    prompt: int
    said: int
    answer: int
    tool_s: float


@dataclass(frozen=True, slots=True)
class Workload:
    """`prefixes` are the kinds of agents, each with a system prompt and tools of its own of `shared` tokens."""

    seed: int = 1
    prefixes: int = 1
    shared: int = 2000
    task: Draw = Draw(400, 0.5, 50, 4000)
    turns: Draw = Draw(4.0, 0.5, 1, 24)
    answer: Draw = Draw(150, 0.8, 8, 4000)
    result: Draw = Draw(400, 1.0, 10, 8000)
    tool_s: Draw = Draw(0.6, 1.0, 0.02, 60)

    def prefix(self, number: int) -> str:
        """The kind of an agent."""
        return f"kind-{number % self.prefixes}"

    def turns_of(self, number: int) -> list[Turn]:
        rng = Random(self.seed * 1_000_003 + number)
        count = round(self.turns.of(rng))
        prompt, said = self.shared + int(self.task.of(rng)), 0
        turns: list[Turn] = []
        for n in range(count):
            answer = int(self.answer.of(rng))
            last = n == count - 1
            result, tool_s = int(self.result.of(rng)), self.tool_s.of(rng)
            turns.append(Turn(prompt, said, answer, 0.0 if last else tool_s))
            said = prompt + answer
            prompt = said + result
        return turns
