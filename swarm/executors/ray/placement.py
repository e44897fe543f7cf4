"""Where an attempt is made: where there is room, and of those where its like was made before."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from swarm.types import AgentSpec

SPILL = 1.25
"""A node that knows an attempt's like is preferred as long as it has at most so many times its share of all."""

_KNOWN = 64

Like = tuple[str | None, str]
"""What makes attempts alike: the commit that they begin with, whose files a node has at hand then, and the beginning of
their prompts, which the endpoint has."""


@dataclass(slots=True)
class _Place:
    slots: int
    used: int = 0
    known: OrderedDict[Like, None] = field(default_factory=OrderedDict)

    @property
    def load(self) -> float:
        return self.used / self.slots

    def learn(self, like: Like) -> None:
        self.known[like] = None
        self.known.move_to_end(like)
        if len(self.known) > _KNOWN:
            self.known.popitem(last=False)


class Placement:
    """The slots of the nodes, and who has them."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    def __repr__(self) -> str:
        return f"<Placement {', '.join(f'{each.used}/{each.slots}' for each in self._places.values())}>"

    def join(self, node: str, slots: int) -> None:
        """A node has so many slots."""
        self._places[node] = _Place(max(1, slots))

    def lost(self, node: str) -> None:
        """A node is gone."""
        self._places.pop(node, None)

    def choose(self, spec: AgentSpec) -> str | None:
        """The node for an attempt, None where there is none. Where all are full, the one that is least so."""
        if not self._places:
            return None
        like: Like = (spec.base, spec.system_prompt)
        whole = sum(each.slots for each in self._places.values())
        used = sum(each.used for each in self._places.values()) + 1
        open_there = [
            name
            for name, each in self._places.items()
            if like in each.known and each.used < each.slots and each.used + 1 <= SPILL * used * each.slots / whole
        ]
        chosen = min(open_there or self._places, key=lambda name: (self._places[name].load, name))
        self._places[chosen].learn(like)
        return chosen

    def took(self, node: str) -> None:
        """A slot is taken."""
        if (place := self._places.get(node)) is not None:
            place.used += 1

    def gave(self, node: str) -> None:
        """A slot is free."""
        if (place := self._places.get(node)) is not None:
            place.used = max(0, place.used - 1)
