"""The soft landing: whoever comes near a limit is told once to come to an end with what there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from swarm.agents.conversation import Conversation
from swarm.budgets.levels import Gauge, Quantity
from swarm.budgets.sizes import dearest
from swarm.events import AgentTold
from swarm.steering import Steering

FINISH_ANSWER = "Give your answer now, from what you have, and say plainly what is missing."

MANY_STEPS = 8
"""Who has so many model calls is told when two are left, others when one is."""

_FEW = 2

LAST_CALLS = 3
"""Who is told needs so many more: to hear it, to bring things into order, to say what there is."""

_ANSWER = 1024


class Landing:
    """Watches the limits of one agent: its model calls (`max_steps`), and those of its conversation's budget and of all
    above. `words` is what it is told to do; who was told so by others is not told again.

    It is time at the soft part of a limit, and before, from the half of it on, when what is left would not do for the
    last calls of all who use it. Who begins when the run is that far already is told later: when half of the rest is
    used.
    """

    __slots__ = ("_budget", "_conversation", "_late", "_max_steps", "_steering", "_told", "_words")

    def __init__(self, conversation: Conversation, steering: Steering, max_steps: int, words: str) -> None:
        self._conversation = conversation
        self._steering = steering
        self._max_steps = max_steps
        self._words = words
        self._told = False
        self._budget = conversation.budget
        self._late = tuple((g.scope, g.what) for g in self._budget.gauges() if g.past(self._budget.soft))

    def __repr__(self) -> str:
        return f"<Landing of {self._conversation.trajectory_id}: {'told' if self._told else 'nothing said'}>"

    def __call__(self, others: Sequence[str] = ()) -> str | None:
        """What is to be said before the next call, beside what others say. Nothing at the first: there is nothing to
        finish."""
        if self._told or self._conversation.recorded or self._conversation.steps == 0:
            return None
        near = next(self._near(), None)
        if near is None:
            return None
        said = (str(message.get("content")) for message in self._conversation.messages if message["role"] == "user")
        if any(self._words in text for text in (*others, *said)):
            self._told = True
            return None
        self._told = True
        text = f"{_why(near)} {self._words}"
        self._conversation.line.sink.emit(
            AgentTold(
                trajectory_id=self._conversation.trajectory_id,
                reason="budget",
                text=text,
                seconds=self._steering.clock.seconds,
                limit=str(near),
                scope=near.scope,
                what=near.what,
            )
        )
        return text

    def _near(self) -> Iterator[Gauge]:
        if self._max_steps - self._conversation.steps <= _FEW:  # else not near, whatever the limit
            steps = Gauge(self._conversation.trajectory_id, "steps", self._conversation.steps, self._max_steps)
            if _few_left(steps):
                yield steps
        soft, last = self._budget.soft, dict[Quantity, float]()
        for gauge, users in self._budget.shared_gauges():
            if not last and gauge.what in ("tokens", "dollars"):
                last = self._last_calls()
            late = (gauge.scope, gauge.what) in self._late
            if gauge.what == "steps":
                near = _few_left(gauge)
            else:
                near = gauge.past((1 + soft) / 2 if late else soft)
                few = gauge.left < last.get(gauge.what, 0.0) * users
                near = near or (few and not late and gauge.past(0.5)) or gauge.left < last.get(gauge.what, 0.0)
            if near:
                yield gauge

    def _last_calls(self) -> dict[Quantity, float]:
        """What the agent's last calls will about take."""
        line = self._conversation.line
        prompt = max(self._conversation.measured[1], line.ratio.tokens(self._conversation.size()))
        answer = min(line.sizes.likely, _ANSWER)
        return {
            "tokens": LAST_CALLS * (prompt + answer),
            "dollars": LAST_CALLS * dearest(line.price, prompt, answer),
        }


def _few_left(steps: Gauge) -> bool:
    return steps.left <= (_FEW if steps.limit >= MANY_STEPS else 1)


def _why(near: Gauge) -> str:
    if near.what == "steps":
        left = int(near.left)
        return f"You have {left} model call{'' if left == 1 else 's'} left."
    return f"The {'time' if near.what == 'seconds' else 'budget'} for this is nearly used up."
